"""Scores files with a registered classifier, and shows the results on the run's pages."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mlflow import MlflowClient
from prefect import task
from prefect.cache_policies import NO_CACHE

from lib.cluster.opening import Choice, open_cluster
from lib.errors import listed
from lib.evaluation.drift.profile import DriftProfile, read_profile
from lib.files.jsonfile import load_json
from lib.inference.predictor import SavedPredictor
from lib.model.machine.device import device_here
from lib.scoring.inputs import files_passed_over, find_inputs
from lib.scoring.parts import Output
from lib.scoring.places import place_at
from lib.scoring.result import Model, Result
from lib.scoring.rows import Columns
from lib.scoring.score import score as score_files
from tasks.engine.log import run_log
from tasks.engine.pageless import create_link_artifact, create_table_artifact
from tasks.environment import store_folder
from tasks.record.live import PrefectProgress
from tasks.record.mlflow_run import accepted, accepted_names, loss_warned
from tasks.record.pages import page_in_mlflow
from tasks.record.recording import Recording
from tasks.record.view import View, save_view
from tasks.registry.files import model_files
from tasks.registry.models import CLASSIFIER, find_model
from tasks.secrets import secrets_kept
from tasks.store import cache_size

if TYPE_CHECKING:
    from lib.cluster.cluster import Cluster
    from lib.progress import Progress
    from lib.recipes.scoring import ScoringJob

VIEW = View(
    {("metrics", "rows/scored"): 110, ("metrics", "rows/unscorable"): 140, ("tags", "finetune.drift"): 420},
)


@dataclass(frozen=True)
class Chosen:
    """The classifier that scores: its name in answers, its folder, the run that made it, and its profile."""

    model: Model
    folder: Path
    run: str
    profile: DriftProfile | None


@dataclass(frozen=True)
class Scored:
    """The result of a job, where its answers are, the files of its folders that were not scored, and how long this run
    took."""

    result: Result
    output: str
    passed_over: tuple[str, ...]
    seconds: float


def choose(tracking: MlflowClient, *, name: str | None, run: str | None) -> Chosen:
    """Returns the champion of a name, or the classifier of an MLflow run; raises ServiceError if there is none."""
    version = find_model(tracking, CLASSIFIER, name=name, run=run)
    files = model_files(tracking, CLASSIFIER, version)
    labels = tuple(load_json(files.folder / "labels.json"))
    model = Model(version.name, version.version, files.identity, labels)
    return Chosen(model, files.folder, files.run, read_profile(files.folder))


@task(
    name="score",
    task_run_name="score",
    description="Scores every row of the files, part by part; finished parts of an earlier run are kept",
    tags=["gpu"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
@secrets_kept()
def score(job: ScoringJob, chosen: Chosen, terminal: Progress) -> Scored:
    """Scores the job's files. Raises FinetuneError if files cannot be read; finished parts stay."""
    began = time.monotonic()

    with Output(place_at(job.output, local=store_folder())).opened() as output, _computing(job) as cluster:
        files = find_inputs(job.inputs, format=job.format, without=output.name)
        passed_over = files_passed_over(job.inputs, files, without=output.name)
        if passed_over:
            run_log().warning("not scored, because of their names' endings: %s", listed(passed_over))
        result = score_files(
            files,
            output,
            model=chosen.model,
            predictor=SavedPredictor(chosen.folder, job.device),
            profile=chosen.profile,
            columns=Columns(job.text_column, job.id_column, job.quoting, job.encoding, job.separator, job.sheet),
            part_rows=job.part_rows,
            cache_size=cache_size(),
            cluster=cluster,
            progress=PrefectProgress("score", terminal, run_log().warning, of="scoring"),
        )
    return Scored(result, output.name, tuple(passed_over), time.monotonic() - began)


@contextmanager
def _computing(job: ScoringJob) -> Iterator[Cluster]:
    """Yields where texts are answered. Machines of a Ray cluster must see this home, where the classifier lies."""
    choice = Choice(job.cluster.kind, job.cluster.address, job.cluster.workers)
    store_folder().mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix=".score-", dir=store_folder()) as folder,
        open_cluster(choice, scratch=Path(folder), cards=int(device_here(job.device) == "cuda")) as cluster,
    ):
        yield cluster


def metrics_of(chosen: Chosen, scored: Scored) -> dict[str, float]:
    """Returns the counts as metrics of the MLflow run."""
    result, labels = scored.result, chosen.model.labels
    shares = accepted_names("share", labels)
    metrics = {
        "rows/scored": result.scored,
        "rows/unscorable": result.unscorable.total(),
        **{accepted("unscorable", why): count for why, count in sorted(result.unscorable.items())},
        **{name: result.labels[label] / max(result.scored, 1) for name, label in zip(shares, labels, strict=True)},
        "parts/written": result.parts_written,
        "parts/kept": result.parts_kept,
        "seconds": scored.seconds,
        "messages_per_second": result.rows_written / scored.seconds,
    }
    return {name: float(value) for name, value in metrics.items()}


def show_scores(recording: Recording, chosen: Chosen, scored: Scored) -> None:
    """Shows the counts on Prefect's page, and where the run is in MLflow."""
    with loss_warned("Prefect does not show the counts of this run"):
        create_table_artifact(
            _counts(scored.result),
            key="scores",
            description=f"Rows by answer of {chosen.model.name} {chosen.model.version}",
        )
        page = page_in_mlflow(recording)
        if page is not None:
            create_link_artifact(page, link_text="This run in MLflow", key="mlflow-run", description="Counts and drift")


def save_scoring_view(recording: Recording) -> None:
    """Gives the experiment of scoring runs its view. Raises `FAILURES`."""
    tracking, _ = recording.open()
    save_view(tracking, recording.experiment, VIEW)


def tags_of(chosen: Chosen) -> dict[str, str]:
    """Returns the MLflow run's tags that name the classifier that answers and the run that made it."""
    model = chosen.model
    return {"model.name": model.name, "model.version": model.version, "finetune.source_run": chosen.run}


def _counts(result: Result) -> list[dict[str, str | int | float]]:
    rows = max(result.rows, 1)
    kinds: Mapping[str, Mapping[str, int]] = {"": result.labels, "not scored: ": result.unscorable}
    return [
        {"answer": f"{kind}{answer}", "rows": count, "share": round(count / rows, 4)}
        for kind, counts in kinds.items()
        for answer, count in counts.items()
    ]
