"""Draws what a person sees in a terminal: progress bars, a run's table, an explanation's table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from prefect.settings import PREFECT_UI_URL
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from flows.run.result import PROGRESS, Result, listening
from flows.terminal.program import Program, Recipe
from flows.terminal.published import comparison
from flows.terminal.say import say
from lib.progress import Listener, in_words
from lib.progress import Progress as ProgressCallback
from lib.secrets import public
from tasks.engine.runner import Forecast
from tasks.environment import PREFECT_PORT, tracking_is_served
from tasks.running import page_here, tracking_page


@contextmanager
def progress_bars(console: Console) -> Iterator[None]:
    """Shows a bar for each step that reports progress, while the block runs; without a terminal, lines."""
    if not console.is_terminal:
        with listening(in_lines(lambda line: say(line, file=console.file))):
            yield
        return
    columns = [
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console, transient=True) as bars:

        def progress_of(step: str) -> ProgressCallback:
            bar: TaskID | None = None

            def show(done: int, total: int | None, unit: str) -> None:
                nonlocal bar
                if bar is None:
                    bar = bars.add_task(step, total=total, unit=unit)
                bars.update(bar, completed=done, total=total, unit=unit)

            return show

        token = PROGRESS.set(progress_of)
        try:
            yield
        finally:
            PROGRESS.reset(token)


def in_lines(say: Callable[[str], None]) -> Listener:
    """Says of each step that it begins and how it ends, and what each evaluation of a training measures."""
    return Listener(
        on_begin=lambda step: say(f"{step} begins"),
        on_end=lambda step, state, seconds: say(f"{step} {state} ({seconds:.2f} s)"),
        on_row=lambda row: say(in_words(row)),
    )


def show_result(console: Console, result: Result, recipe: Recipe, program: Program[Recipe]) -> None:
    """What a run ends with: its verdict, its facts, its steps, what was published, and where to look further."""
    artifacts = result.artifacts()
    table = Table(title=f"{result.recipe}: {result.seconds:.1f} s", show_header=False, title_justify="left")
    for name, value in program.use_case().facts(artifacts, result.metrics, recipe):
        table.add_row(name, Text(value))
    console.print(Text(" ".join(result.verdict)), soft_wrap=True)
    console.print(table)
    for sentence in result.warnings:
        console.print(Text(f"warning: {sentence}", style="yellow"), soft_wrap=True)
    if recipe.published.weights is not None:
        console.print(comparison(recipe, program.recipe("book"), artifacts["backbone"], result.metrics), soft_wrap=True)

    steps = Table("step", "state", "seconds", "artifact")
    for outcome in result.steps:
        place = f"{outcome.artifact.step}/{outcome.artifact.key[:12]}" if outcome.artifact else ""
        steps.add_row(outcome.step, outcome.state, f"{outcome.seconds:.2f}", place)
    console.print(steps)
    if result.registered is not None:
        aliases = f" ({', '.join(result.registered.aliases)})" if result.registered.aliases else ""
        console.print(f"registered: {result.registered.name} version {result.registered.version}{aliases}")
        if result.registered.why is not None:
            console.print(f"{result.registered.promotion}: {result.registered.why}", soft_wrap=True, markup=False)
    else:
        console.print("version: waits, `finetune deliver` registers it", soft_wrap=True, markup=False)
    if result.report is not None:
        console.print(f"report: {result.report}", soft_wrap=True, markup=False)
    for hint in where_to_look():
        console.print(hint, soft_wrap=True)


def where_to_look() -> Iterator[str]:
    """Where to look further, and whether the page is there already."""
    later = " (once `finetune ui` runs)"
    shown = tracking_is_served() or page_here("mlflow")
    yield f"curves and models in MLflow: {tracking_page()}{'' if shown else later}"
    if os.environ.get("PREFECT_API_URL"):
        yield f"runs and steps in Prefect: {public(PREFECT_UI_URL.value())}"
    else:
        here = page_here("prefect")
        yield f"runs and steps in Prefect: {here or f'http://127.0.0.1:{PREFECT_PORT}{later}'}"


def show_forecasts(console: Console, forecasts: Sequence[Forecast]) -> None:
    """The table of `--explain`."""
    table = Table("step", "would", "because")
    for forecast in forecasts:
        table.add_row(forecast.step, forecast.would, "\n".join(forecast.reasons))
    console.print(table)
