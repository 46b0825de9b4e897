"""Draws a search: what its trials came to, and which fields moved that."""

from __future__ import annotations

from itertools import accumulate

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lib.comparison.figures import WIDTH
from lib.comparison.scale import as_metric, scale_of
from lib.comparison.story import Searched, TrialState
from lib.comparison.values import METRICS, SMALLER_IS_BETTER, Metric, written
from lib.comparison.words import direction, middle_cut
from lib.evaluation.figures import BLUE, MUTED, VERMILION, mark

MOST_FIELDS = 15  # bars of the picture of importance
LONGEST_NAME = 34  # characters of a field's name


def draw(searched: Searched, metric: Metric) -> dict[str, Figure]:
    """Returns the pictures that there is something to draw of, by name. For `lib.evaluation.figures.save_figures`."""
    drawn = {"history": draw_history(searched, metric)} if _of(searched, "complete") else {}
    if searched.importance:
        drawn["importance"] = draw_importance(searched)
    return drawn


def draw_history(searched: Searched, metric: Metric) -> Figure:
    """Draws what each trial came to, and the best so far."""
    complete, pruned = _of(searched, "complete"), _of(searched, "pruned")
    failed = [number for number, _, state in searched.history if state == "failed"]
    bests = list(accumulate((value for _, value in complete), min if metric in SMALLER_IS_BETTER else max))
    scale = scale_of([value for _, value in complete], metric, others=[value for _, value in pruned])
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.spines["top"].set_visible(False)
    last = searched.history[-1][0]
    axes.step(
        [*(number for number, _ in complete), last],
        [scale.kept(best) for best in (*bests, bests[-1])],
        where="post",
        color=BLUE,
        label="best so far",
    )
    size = 6 if len(searched.history) <= 100 else 3.5
    dots = [scale.kept(value) for _, value in complete]
    axes.plot([number for number, _ in complete], dots, "o", color=MUTED, markersize=size, alpha=0.75, label="complete")
    if pruned:
        axes.plot(
            [number for number, _ in pruned],
            [scale.kept(value) for _, value in pruned],
            "o",
            markerfacecolor="none",
            markeredgecolor=MUTED,
            markersize=size,
            label="pruned, as far as it came",
        )
    if failed:
        axes.plot(
            failed, [scale.low] * len(failed), "x", color=VERMILION, markersize=size, label="failed", clip_on=False
        )
    axes.set_xlim(-0.02 * last - 0.5, 1.02 * last + 0.5)
    axes.set_ylim(scale.low, scale.high)
    axes.set(title="Trials of the search", xlabel="trial", ylabel=f"{METRICS[metric]}{direction(metric)}")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    as_metric(axes.yaxis, metric)
    first = complete[bests.index(bests[-1])]
    mark(axes, *first, f"trial {first[0]}: {written(metric, first[1])}", below=metric not in SMALLER_IS_BETTER)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8.5)
    return figure


def draw_importance(searched: Searched) -> Figure:
    """Draws which share of what moved the value is each field's."""
    fields = sorted(searched.importance.items(), key=lambda field: -field[1])[:MOST_FIELDS]
    figure = Figure(figsize=(WIDTH, 1.3 + 0.36 * len(fields)), layout="constrained")
    axes = figure.add_subplot()
    axes.spines["top"].set_visible(False)
    axes.barh(range(len(fields)), [share for _, share in fields], height=0.62, color=BLUE)
    for place, (_, share) in enumerate(fields):
        axes.annotate(
            f"{share:.0%}", (share, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_yticks(range(len(fields)), [middle_cut(name, LONGEST_NAME) for name, _ in fields])
    axes.set_ylim(len(fields) - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * max(share for _, share in fields) or 1.0)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set(title="Importance of each field", xlabel="share of what moved the value")
    return figure


def _of(searched: Searched, wanted: TrialState) -> list[tuple[int, float]]:
    return [(number, value) for number, value, state in searched.history if state == wanted and value is not None]
