"""What the pages of every run show: datasets and curves in MLflow, tables and figures in Prefect."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Run
from mlflow.exceptions import MlflowException

from lib.data.tables import SPLITS
from lib.files.checksum import json_sha256
from lib.markdown import bullets, plain
from lib.store.artifacts import Artifact
from lib.store.warnings import WARNINGS
from tasks.engine.pageless import create_link_artifact, create_markdown_artifact
from tasks.environment import IN_A_CHECKOUT, PROJECT
from tasks.record.metrics import CURVES, measured_in, run_called
from tasks.record.mlflow_run import ARTIFACT_TAG
from tasks.record.view import IN_MLFLOW, curves_page, run_page
from tasks.running import tracking_page
from tasks.store import artifact_store

if TYPE_CHECKING:
    from tasks.engine.step import AnyRecipe
    from tasks.record.recording import Recording

MLFLOW_DIGEST_LENGTH = 36  # characters of a dataset's digest that MLflow stores


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested groups to dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def git_commit() -> dict[str, str]:
    """Returns MLflow's tag for the project's commit, if it is a git checkout."""
    if not IN_A_CHECKOUT:  # what git finds above an installed copy is another project
        return {}
    try:
        out = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"mlflow.source.git.commit": out.strip()}


def log_recipe(tracking: MlflowClient, run_id: str, recipe: AnyRecipe) -> None:
    """Logs the whole recipe as `recipe.yaml`, without passwords in addresses."""
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    tracking.log_text(run_id, text, "recipe.yaml")


def log_warnings(tracking: MlflowClient, run_id: str, warnings: Sequence[str]) -> None:
    """Logs the warnings of a run's steps as `warnings.json`, and how many there are as a tag to search by."""
    tracking.log_text(run_id, json.dumps(list(warnings), indent=2, ensure_ascii=False) + "\n", WARNINGS)
    tracking.set_tag(run_id, "finetune.warnings", f"{len(warnings)}")


def warnings_section(warnings: Sequence[str]) -> str:
    """Returns the warnings as a list in Markdown; nothing without any."""
    return f"Warnings:\n\n{bullets(warnings)}" if warnings else ""


def paragraphs(*parts: str) -> str:
    """Joins the parts that say something."""
    return "\n\n".join(part for part in parts if part)


def backbone_files(backbone: Artifact) -> list[tuple[Artifact, str]]:
    """Returns what the pages show of a network: what it is, and what our own GPT writes before any training."""
    return [(backbone, name) for name in ("backbone.json", "sanity.txt") if backbone.file(name).is_file()]


def datasets(source: str, split: Artifact) -> list[DatasetInput]:
    """Returns an artifact's three splits, each a file or a folder of parts, as MLflow datasets, with the digests of
    their bytes."""
    files = artifact_store().manifest(split.step, split.key).files
    found = []
    for name in SPLITS:
        parts = {file.name: file.sha256 for file in files if file.name.startswith((f"{name}.", f"{name}/"))}
        place = name if split.file(name).is_dir() else f"{name}.parquet"
        dataset = Dataset(
            name=f"{source}-{name}",
            digest=json_sha256(parts)[:MLFLOW_DIGEST_LENGTH],
            source_type="local",
            source=f'{{"uri": "store/{split.step}/{split.key}/{place}"}}',
        )
        found.append(DatasetInput(dataset, [InputTag("mlflow.data.context", name)]))
    return found


def log_datasets(tracking: MlflowClient, run_id: str, splits: list[DatasetInput]) -> None:
    """Logs a run's datasets, with one retry: of two runs that add the same one at once, MLflow refuses one."""
    try:
        tracking.log_inputs(run_id, datasets=splits)
    except MlflowException:
        tracking.log_inputs(run_id, datasets=splits)


def digest_tags(artifacts: Mapping[str, Artifact]) -> dict[str, str]:
    """Returns MLflow's tags that name the artifacts behind a run."""
    return {f"{ARTIFACT_TAG}{step}": artifact.digest for step, artifact in artifacts.items()}


def links(tracking: MlflowClient, run_id: str, *, trained: Artifact, evaluated: Artifact) -> str:
    """Returns Markdown for a run's page in MLflow: which run measured what it shows, if another did, where the curves
    are, and the run in Prefect."""
    run = tracking.get_run(run_id)
    source, measured = (_run_or(tracking, measured_in(artifact), run) for artifact in (trained, evaluated))
    curves = [name for names in CURVES.values() for name in names if name in source.data.metrics]
    there = [
        *([f"[Loss and accuracy while training]({curves_page(source, curves)})"] if curves else []),
        f"[This run in Prefect]({run.data.tags['prefect.flow_run_url']})",
    ]
    name = plain(measured.info.run_name)
    repeated = f"Nothing was measured anew: [{name}]({run_page(measured)}) measured this."
    return paragraphs(repeated if measured is not run else "", " · ".join(there))


def _run_or(tracking: MlflowClient, name: str, otherwise: Run) -> Run:
    found = run_called(tracking, name, otherwise.info.experiment_id)
    return otherwise if found is None or found.info.run_id == otherwise.info.run_id else found


def page_in_mlflow(recording: Recording) -> str | None:
    """Returns the address of the run's page in MLflow; None if MLflow does not have it yet."""
    return address_in_mlflow(recording.experiment, recording.record.run) if recording.experiment else None


def address_in_mlflow(experiment: str, run: str) -> str:
    """Returns the address of a run's page in MLflow."""
    return f"{tracking_page()}/#/experiments/{experiment}/runs/{run}?{IN_MLFLOW}"


def show_in_prefect(
    page: str | None, *, beginning: str, recipe: str, pictures: Mapping[str, Artifact], more: str = ""
) -> None:
    """Shows the link to the run in MLflow and the report as Prefect artifacts.

    page: of the run in MLflow; None: it is not there yet. beginning, more: Markdown around the figures; pictures: their
    names, each with the artifact that has it.
    """
    if page is not None:
        create_link_artifact(
            page,
            link_text="This run in MLflow",
            key="mlflow-run",
            description="Curves, parameters, files and the model",
        )
    drawn = "\n\n".join(_picture(artifact, name) for name, artifact in pictures.items())
    link = "This run is not in MLflow yet" if page is None else f"[This run in MLflow]({page})"
    report = paragraphs(beginning, drawn, more, link)
    create_markdown_artifact(f"{report}\n", key="report", description=f"Curves of {recipe}")


def _picture(evaluated: Artifact, name: str) -> str:
    """Embeds a figure in Markdown, so that Prefect's page needs no file of ours."""
    content = base64.b64encode(evaluated.file(f"figures/{name}.png").read_bytes()).decode()
    return f"![{name}](data:image/png;base64,{content})"
