"""Compares recipes from a terminal: runs the flow and shows the table at its end, or says what would run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.run.compared import Result, VariantResult, compare_recipes, forecasts
from flows.run.prefect_api import no_heartbeats, prefect_server, run_beside_prefect
from flows.terminal.display import progress_bars, where_to_look
from flows.terminal.drawing import console
from flows.terminal.exits import say_warning
from flows.terminal.runs import keep_errors_off_the_terminal
from lib.recipes.compare import CompareRecipe
from tasks.compare.shared import Forecasts


def run(comparison: CompareRecipe, *, as_json: bool) -> int:
    """Compares the recipes and shows what came of it; returns the exit status."""
    keep_errors_off_the_terminal()
    with prefect_server(), no_heartbeats(), progress_bars(console(stderr=True)):
        printed = run_beside_prefect(lambda: compare_recipes(comparison), say_warning)
    result = Result.model_validate(printed)
    if as_json:
        print(json.dumps(printed))  # noqa: T201 - this is the program's output
    else:
        _show(console(), result)
    if result.waits:
        say_warning(result.waits)
    return 0


def explain(comparison: CompareRecipe, *, as_json: bool) -> int:
    """Shows what a comparison would do; returns the exit status."""
    found = forecasts(comparison)
    if as_json:
        shared = [{**asdict(forecast), "variants": names} for forecast, names in found.shared.values()]
        own = [{**asdict(forecast), "training": name} for name, forecast in found.own]
        printed = {"comparison": comparison.name, "shared": shared, "trainings": own}
        print(json.dumps(printed))  # noqa: T201
    else:
        _show_forecasts(console(), comparison, found)
    return 0


def _show_forecasts(console: Console, comparison: CompareRecipe, found: Forecasts) -> None:
    table = Table("step", "of", "would", "because")
    for forecast, names in found.shared.values():
        of = "all variants" if len(names) == found.variants and len(names) > 1 else ", ".join(names)
        table.add_row(forecast.step, Text(of), forecast.would, Text("\n".join(forecast.reasons)))
    for name, forecast in found.own:
        table.add_row(forecast.step, Text(name), forecast.would, Text("\n".join(forecast.reasons)))
    console.print(table)
    if comparison.search.spaces:
        console.print(f"and up to {comparison.search.trials} trials in all, which the search suggests")
    if comparison.open_test:
        console.print("and of the variant that is chosen: engine, cross_validate, evaluate")


def _show(console: Console, result: Result) -> None:
    console.print(Text(" ".join(result.sentences)), soft_wrap=True)
    table = Table(title=Text(f"{result.comparison}: {result.seconds:.1f} s"), title_justify="left")
    for heading in ("variant", result.metric.replace("_", " "), "difference", "p", "seconds", "learning", "memory"):
        table.add_column(heading, justify="left" if heading == "variant" else "right", overflow="fold")
    for variant in result.variants:
        table.add_row(*_cells(variant, result.metric), style="bold" if variant.chosen else None)
    console.print(table)
    for variant in result.variants:
        if variant.reason:
            console.print(Text(f"{variant.name}: {variant.reason}", style="yellow"), soft_wrap=True)
    if result.registered is not None:
        console.print(f"registered: {result.registered.name} version {result.registered.version}", markup=False)
    console.print(f"page, table and pictures: {result.folder}", soft_wrap=True, markup=False)
    for hint in where_to_look():
        console.print(hint, soft_wrap=True)


def _cells(variant: VariantResult, metric: str) -> Iterator[Text | str]:
    yield Text(variant.name)
    if variant.value is None:
        yield variant.state
        yield from ("",) * 5
        return
    form = "{:.2%}" if metric == "accuracy" else "{:.4f}"
    interval = "" if variant.low is None or variant.high is None else f"\n{variant.low:.2%} to {variant.high:.2%}"
    yield f"{form.format(variant.value)}{interval}"
    points = metric == "accuracy"
    difference = variant.difference
    yield "" if difference is None else f"{100 * difference:+.2f} points" if points else f"{difference:+.4f}"
    yield "" if variant.p_value is None else f"{variant.p_value:.3f}"
    yield "" if variant.seconds is None or math.isnan(variant.seconds) else f"{variant.seconds:.1f}"
    yield "" if variant.trainable_parameters is None else f"{variant.trainable_parameters:,}"
    yield "" if variant.peak_memory is None else f"{variant.peak_memory / 2**20:,.0f} MiB"
