"""What a finished run looks like in MLflow and on Prefect's page."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Mapping
from typing import Any

import yaml
from mlflow.entities import Dataset, DatasetInput, InputTag
from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from lib.artifacts import Artifact, Store
from lib.data.tables import SPLITS
from lib.jsonfile import load_json
from lib.recipe import ClassifyRecipe
from tasks.features import choice
from tasks.services import PROJECT, store_folder, tracking_page
from tasks.tracking import HistoryLog, client, log_metrics, set_tags

# Without it MLflow's pages open in the form that they have for language model applications.
IN_MLFLOW = "workflowType=machine_learning"
MLFLOW_DIGEST_LENGTH = 36  # characters that MLflow keeps of a dataset's digest
SHOWN = ("accuracy", "precision", "recall", "f1", "mcc", "roc_auc", "log_loss")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested groups as one mapping with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def git_commit() -> dict[str, str]:
    """MLflow's tag for the commit of this project, if it is a git checkout."""
    try:
        out = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"mlflow.source.git.commit": out.strip()}


@task(
    name="track",
    task_run_name="track",
    description="Logs datasets, curves, metrics, figures and digests to the MLflow run",
)
def track(run_id: str, recipe: ClassifyRecipe, artifacts: dict[str, Artifact], finetune_state: str) -> dict[str, float]:
    """Logs all that the steps produced; returns the final metrics by MLflow's names."""
    from lib.evaluation.flat import flatten_metrics
    from lib.training.history import read_history

    tracking = client()
    tracking.log_text(run_id, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), "recipe.yaml")
    tracking.log_inputs(run_id, datasets=_datasets(artifacts, recipe))

    finetuned, evaluated = artifacts["finetune"], artifacts["evaluate"]
    source_run = Store(store_folder()).manifest("finetune", finetuned.key).notes["tracking_run"]
    history = read_history(finetuned.file("history.parquet"))
    if finetune_state == "cached":
        # The curves belong to this run too, so that it can be compared; the tag says which run measured them.
        log = HistoryLog(tracking, run_id)
        for row in history.to_dict("records"):
            log({str(name): value for name, value in row.items()})
        log.send()
    metrics = flatten_metrics(load_json(evaluated.file("metrics.json")))
    # before_train_accuracy, after_test_accuracy: what the published procedure prints.
    for part, figures in load_json(finetuned.file("training.json"))["published"].items():
        metrics |= {f"{part}_{name}": value for name, value in figures.items()}
    # MLflow draws a bar for what has step 0 alone. Two curves share their names with final metrics; there the run's
    # value is what has the highest step and was logged last.
    on_curves = {name: value for name, value in metrics.items() if name in history}
    log_metrics(tracking, run_id, on_curves, step=int(history["step"].max()))
    log_metrics(tracking, run_id, {name: metrics[name] for name in metrics.keys() - on_curves.keys()}, step=0)
    tracking.log_artifacts(run_id, str(evaluated.file("figures")), "figures")
    for artifact, name in [
        (evaluated, "report.html"),
        (evaluated, "metrics.json"),
        (artifacts["messages"], "profile.json"),
        (artifacts["split"], "split.json"),
        (artifacts["tokenize"], "tokens.json"),
        (artifacts["backbone"], "sanity.txt"),
    ]:
        tracking.log_artifact(run_id, str(artifact.file(name)))
    digests = {f"artifact.{step}": artifact.digest for step, artifact in artifacts.items()}
    run = tracking.get_run(run_id)
    note = f"{headline(recipe, metrics)}\n\n[This run in Prefect]({run.data.tags['prefect.flow_run_url']})"
    chosen = choice(recipe, artifacts)
    told = {
        "finetune.source_run": source_run,
        "finetune.features": f"{'kept' if chosen.keep else 'not kept'}: {chosen.reason}",
        "mlflow.note.content": note,
    }
    set_tags(tracking, run_id, digests | told)
    page = f"{tracking_page()}/#/experiments/{run.info.experiment_id}/runs/{run_id}?{IN_MLFLOW}"
    _show_in_prefect(page, recipe, metrics, evaluated)
    return metrics


def headline(recipe: ClassifyRecipe, metrics: Mapping[str, float]) -> str:
    """The run in one sentence."""
    low, high = metrics["test_accuracy_low"], metrics["test_accuracy_high"]
    return (
        f"{recipe.name}: test accuracy {metrics['test_accuracy']:.2%}"
        f" ({recipe.evaluation.confidence:.0%} interval {low:.2%} to {high:.2%})"
    )


def _datasets(artifacts: Mapping[str, Artifact], recipe: ClassifyRecipe) -> list[DatasetInput]:
    """The three splits as MLflow datasets, with the digests of their bytes."""
    manifest = Store(store_folder()).manifest("split", artifacts["split"].key)
    digest_of = {file.name: file.sha256 for file in manifest.files}
    return [
        DatasetInput(
            Dataset(
                name=f"{recipe.data.source}-{split}",
                digest=digest_of[f"{split}.parquet"][:MLFLOW_DIGEST_LENGTH],
                source_type="local",
                source=f'{{"uri": "store/split/{artifacts["split"].key}/{split}.parquet"}}',
            ),
            [InputTag("mlflow.data.context", split)],
        )
        for split in SPLITS
    ]


def _show_in_prefect(page: str, recipe: ClassifyRecipe, metrics: Mapping[str, float], evaluated: Artifact) -> None:
    """The table, the link to the run's page in MLflow and the report, as Prefect's artifacts."""
    table = [
        {"metric": name, **{split: _rounded(metrics.get(f"{split}_{name}")) for split in SPLITS}} for name in SHOWN
    ]
    create_table_artifact(table, key="metrics", description=f"Metrics of {recipe.name}, over all rows of each split")
    create_link_artifact(
        page, link_text="This run in MLflow", key="mlflow-run", description="Curves, parameters, files and the model"
    )
    pictures = "\n\n".join(_picture(evaluated, name) for name in ("loss", "accuracy"))
    create_markdown_artifact(
        f"# {headline(recipe, metrics)}\n\n{pictures}\n\n[This run in MLflow]({page})\n",
        key="report",
        description=f"Curves of {recipe.name}",
    )


def _picture(evaluated: Artifact, name: str) -> str:
    """A figure inside Markdown, so that Prefect's page needs no file of ours."""
    content = base64.b64encode(evaluated.file(f"figures/{name}.png").read_bytes()).decode()
    return f"![{name}](data:image/png;base64,{content})"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
