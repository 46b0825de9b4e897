"""Scores files from a terminal: runs the flow and shows the table at its end."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from flows.run.prefect_api import no_heartbeats, prefect_server, run_beside_prefect
from flows.run.scored import Summary, score_messages
from flows.terminal.display import progress_bars, where_to_look
from flows.terminal.drawing import console
from flows.terminal.exits import say_warning
from flows.terminal.runs import keep_errors_off_the_terminal
from lib.errors import listed
from lib.recipes.scoring import ScoringJob


def score(job: ScoringJob, *, as_json: bool) -> int:
    """Scores the job's files and shows what came of it; returns the exit status."""
    keep_errors_off_the_terminal()
    with prefect_server(), no_heartbeats(), progress_bars(console(stderr=True)):
        printed = run_beside_prefect(lambda: score_messages(job), say_warning)
    summary = Summary.model_validate(printed)
    if as_json:
        print(json.dumps(printed))  # noqa: T201 - this is the program's output
    else:
        _show(console(), summary)
    if summary.waits:
        say_warning(summary.waits)
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
    if summary.passed_over:
        yield "  passed over", listed(summary.passed_over)
    yield "scored", f"{summary.scored:,}"
    for label, count in summary.labels.items():
        yield f"  {label}", f"{count:,} ({count / max(summary.scored, 1):.1%})"
    yield "could not be scored", f"{sum(summary.unscorable.values()):,}"
    for reason, count in summary.unscorable.items():
        yield f"  {reason}", f"{count:,}"
    kept = f", {summary.parts_kept:,} kept from before" if summary.parts_kept else ""
    yield "parts", f"{summary.parts_written:,} written{kept}"
    yield "messages per second", f"{summary.metrics['messages_per_second']:,.0f}"
