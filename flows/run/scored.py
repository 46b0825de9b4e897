"""A flow run of scoring: the files scored, its MLflow run around them, and whether the texts have drifted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from prefect import flow, runtime
from pydantic import BaseModel

from flows.run.names import link_tags, name_of_run
from flows.run.result import PROGRESS
from lib.recipes.scoring import ScoringJob
from tasks.engine.pageless import noted
from tasks.record.mlflow_run import client, tracked_run
from tasks.record.pages import flatten
from tasks.report.drift import SCORING
from tasks.secrets import secrets_kept
from tasks.use.drift import DriftReport, drift
from tasks.use.score import choose, log_scores, score, tag_model


class Summary(BaseModel):
    """What a finished run says of itself; `--json` prints it."""

    flow_run: str
    mlflow_run: str
    model: str
    version: str
    output: str
    files: int
    passed_over: list[str]  # files in the given folders that are not scored
    scored: int
    labels: dict[str, int]
    unscorable: dict[str, int]  # rows by reason
    parts_written: int
    parts_kept: int
    drift: DriftReport
    metrics: dict[str, float]
    seconds: float


def run_name() -> str:
    """The name of the present run: the model, where one is named, and when it began."""
    return name_of_run("score", *filter(None, [runtime.flow_run.parameters["job"].name]))


@flow(name=SCORING, description="Scores files with a registered classifier", flow_run_name=run_name, log_prints=False)
def score_messages(job: ScoringJob) -> dict[str, Any]:
    """Scores the job's files; finished parts of an earlier run are kept. Returns what `--json` prints."""
    return noted(lambda: perform(job))


def perform(job: ScoringJob) -> dict[str, Any]:
    """Scores the job's files inside the present flow run."""
    started = time.monotonic()
    tracking = client()
    params = flatten(job.model_dump(mode="json"))
    tags = link_tags("flows/score.py")
    name = str(runtime.flow_run.name)
    with (
        secrets_kept(),
        tracked_run(tracking, experiment=SCORING, name=name, params=params, tags=tags) as run_id,
    ):
        chosen = choose(tracking, name=job.name, run=job.run)
        tag_model(tracking, run_id, chosen)
        scored = score(job, chosen, PROGRESS.get()("score"))
        metrics = log_scores(tracking, run_id, chosen, scored)
        report = drift(run_id, job.drift, chosen, scored)
    result = scored.result
    summary = Summary(
        flow_run=str(runtime.flow_run.id),
        mlflow_run=run_id,
        model=chosen.model.name,
        version=chosen.model.version,
        output=str(Path(job.output).expanduser().absolute()),
        files=result.files,
        passed_over=list(scored.passed_over),
        scored=result.scored,
        labels={label: result.labels[label] for label in chosen.model.labels},
        unscorable=dict(sorted(result.unscorable.items())),
        parts_written=result.parts_written,
        parts_kept=result.parts_kept,
        drift=report,
        metrics=metrics | report.metrics,
        seconds=round(time.monotonic() - started, 2),
    )
    return summary.model_dump(mode="json")
