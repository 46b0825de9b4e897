"""A flow run of scoring: the files scored, its MLflow run around them, and whether the texts have drifted."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from prefect import flow, runtime
from pydantic import BaseModel

from flows.run.delivery import deliver_others
from flows.run.names import link_tags, name_of_run
from flows.run.result import PROGRESS
from lib.recipes.scoring import ScoringJob
from tasks.engine.pageless import noted
from tasks.record.mlflow_run import client
from tasks.record.outbox import new_record, now
from tasks.record.pages import flatten
from tasks.record.recording import recorded, tell_what_waits
from tasks.report.drift import SCORING
from tasks.secrets import secrets_kept
from tasks.temporary import temporary_files
from tasks.use.drift import DriftReport, drift
from tasks.use.score import choose, metrics_of, save_scoring_view, score, show_scores, tags_of


class Summary(BaseModel):
    """What a finished run says of itself; `--json` prints it."""

    flow_run: str
    mlflow_run: str  # empty: MLflow has none yet
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
    waits: str = ""  # a sentence, if MLflow does not have all of this yet
    seconds: float


def run_name() -> str:
    """The name of the present run: the model, where one is named, and when it began."""
    return name_of_run("score", *filter(None, [runtime.flow_run.parameters["job"].name]))


@flow(name=SCORING, description="Scores files with a registered classifier", flow_run_name=run_name, log_prints=False)
def score_messages(job: ScoringJob) -> dict[str, Any]:
    """Scores the job's files; finished parts of an earlier run are kept. Returns what `--json` prints."""
    return noted(lambda: perform(job))


@temporary_files()
def perform(job: ScoringJob) -> dict[str, Any]:
    """Scores the job's files inside the present flow run."""
    started = time.monotonic()
    client()  # without its registry there is no classifier, and so nothing to record
    record = new_record(
        experiment=SCORING,
        name=str(runtime.flow_run.name),
        params=flatten(job.model_dump(mode="json")),
        tags=link_tags("flows/score.py"),
    )
    with secrets_kept(), recorded(record) as recording:
        chosen = choose(client(), name=job.name, run=job.run)
        recording.note(told=tags_of(chosen))
        scored = score(job, chosen, PROGRESS.get()("score"))
        report = drift(job.drift, chosen, scored)
        metrics = metrics_of(chosen, scored)
        told = recording.record.told | report.tags
        recording.note(metrics=metrics | report.metrics, told=told, measured=now())
        show_scores(recording, chosen, scored)
        recording.tell = partial(save_scoring_view, recording)
    waits = tell_what_waits(recording)
    if not waits:
        deliver_others(record)
    result = scored.result
    summary = Summary(
        flow_run=str(runtime.flow_run.id),
        mlflow_run=recording.record.run,
        model=chosen.model.name,
        version=chosen.model.version,
        output=scored.output,
        files=result.files,
        passed_over=list(scored.passed_over),
        scored=result.scored,
        labels={label: result.labels[label] for label in chosen.model.labels},
        unscorable=dict(sorted(result.unscorable.items())),
        parts_written=result.parts_written,
        parts_kept=result.parts_kept,
        drift=report,
        metrics=metrics | report.metrics,
        waits=waits,
        seconds=round(time.monotonic() - started, 2),
    )
    return summary.model_dump(mode="json")
