"""Score files with a registered classifier: `python -m flows.score INPUT ... --output FOLDER`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prefect import flow, runtime
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from flows.run.names import link_tags, name_of_run
from flows.run.prefect_api import find_or_start_prefect, no_heartbeats
from flows.run.result import PROGRESS
from flows.terminal.command_line import describe
from flows.terminal.display import progress_bars, where_to_look
from flows.terminal.exits import exit_status_of
from flows.terminal.program import Parser
from flows.terminal.runs import keep_errors_off_the_terminal
from lib.errors import RecipeError
from lib.recipes.fields import recipe_fields
from lib.recipes.mistakes import unknown_field
from lib.recipes.reading import build_recipe
from lib.recipes.scoring import ScoringJob
from tasks.environment import shareable
from tasks.record.mlflow_run import client, tracked_run
from tasks.record.pages import flatten
from tasks.use.drift import DriftReport, drift
from tasks.use.score import choose, log_scores, score, tag_model

NAME = "score-messages"
USAGE = "python -m flows.score INPUT ... --output FOLDER [--name MODEL | --run ID] [--FIELD VALUE ...] [--json]"
DESCRIPTION = "Score every message of the files with a registered classifier; see docs/scoring.md."
OPTIONS = ("json", "help")  # the flags that are no fields
BY_PLACE = ("inputs", "output")  # the fields that the command line takes in a way of its own


class Summary(BaseModel):
    """What a finished run says of itself; `--json` prints it."""

    flow_run: str
    mlflow_run: str
    model: str
    version: str
    output: str
    files: int
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


@flow(name=NAME, description="Scores files with a registered classifier", flow_run_name=run_name, log_prints=False)
def score_messages(job: ScoringJob) -> dict[str, Any]:
    """Scores the job's files; finished parts of an earlier run are kept. Returns what `--json` prints."""
    started = time.monotonic()
    tracking = client()
    params = flatten(shareable(job.model_dump(mode="json")))
    tags = link_tags("flows/score.py")
    with tracked_run(tracking, experiment=NAME, name=str(runtime.flow_run.name), params=params, tags=tags) as run_id:
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


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, ScoringJob]:
    """The options (`json`) and the job; raises RecipeError with one sentence for a mistake."""
    parser = Parser(usage=USAGE, description=DESCRIPTION, allow_abbrev=False)
    fields = {field.path: field for field in recipe_fields(ScoringJob)}
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=fields["inputs"].description)
    parser.add_argument("--output", required=True, metavar="FOLDER", help=fields["output"].description)
    parser.add_argument("--json", action="store_true", help="print the result as JSON, as the last line")
    for path, field in fields.items():
        if path not in BY_PLACE:
            text = describe(field, field.default)
            parser.add_argument(f"--{path}", metavar="VALUE", default=argparse.SUPPRESS, help=text)
    options, unknown = parser.parse_known_args(argv)
    for flag in unknown:
        path = flag.removeprefix("--").partition("=")[0]
        raise RecipeError(unknown_field(path, flag=True, also=OPTIONS, model=ScoringJob))
    overrides = {path: value for path, value in vars(options).items() if path in fields and path not in BY_PLACE}
    given = {"inputs": options.inputs, "output": options.output}
    return options, build_recipe(given, overrides, origin="the command line", model=ScoringJob)


def main(argv: Sequence[str]) -> int:
    """Scores what the arguments ask for; returns the exit status."""
    return exit_status_of(lambda: _run(argv), kept="finished parts are kept, and the same command goes on from them")


def _run(argv: Sequence[str]) -> int:
    options, job = parse(argv)
    keep_errors_off_the_terminal()
    find_or_start_prefect()
    with no_heartbeats(), progress_bars(Console(stderr=True)):
        printed = score_messages(job)
    if options.json:
        print(json.dumps(printed))  # noqa: T201 - this is the program's output
    else:
        _show(Console(), Summary.model_validate(printed))
    return 0


def _show(console: Console, summary: Summary) -> None:
    """The table at the end of a run, what drift came to, and where to look further."""
    table = Table(title=f"{summary.model} {summary.version}: {summary.seconds:.1f} s", show_header=False)
    for name, value in _facts(summary):
        table.add_row(name, value)
    console.print(table)
    console.print(summary.drift.why, soft_wrap=True, markup=False)
    console.print(f"answers: {summary.output}/scored", soft_wrap=True, markup=False)
    if summary.unscorable:
        console.print(f"rows without one: {summary.output}/unscorable", soft_wrap=True, markup=False)
    for hint in where_to_look():
        console.print(hint, soft_wrap=True)


def _facts(summary: Summary) -> Iterator[tuple[str, str]]:
    yield "files", f"{summary.files:,}"
    yield "scored", f"{summary.scored:,}"
    for label, count in summary.labels.items():
        yield f"  {label}", f"{count:,} ({count / max(summary.scored, 1):.1%})"
    yield "could not be scored", f"{sum(summary.unscorable.values()):,}"
    for reason, count in summary.unscorable.items():
        yield f"  {reason}", f"{count:,}"
    kept = f", {summary.parts_kept:,} kept from before" if summary.parts_kept else ""
    yield "parts", f"{summary.parts_written:,} written{kept}"
    yield "messages per second", f"{summary.metrics['messages_per_second']:,.0f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
