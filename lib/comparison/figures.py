"""Draws a comparison: what each variant comes to, and what it costs to train."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from lib.comparison.labels import Line, Named, name_points
from lib.comparison.scale import Scale, as_metric, scale_of
from lib.comparison.values import METRICS, Comparison, Metric, Row, written
from lib.comparison.words import direction, middle_cut, short_names
from lib.evaluation.figures import BLUE, GREEN, INK, MUTED, PURPLE, VERMILION

WIDTH = 6.8  # inches
# Of the picture of values, inches: above and below the rows, a row, from end to end of the scale, and of the numbers.
TOP, BOTTOM, ROW, PLOT, VALUE = 0.6, 1.08, 0.27, 3.7, 0.75
MOST_ROWS = 40  # of the picture of values
LONGEST_NAME = 38  # characters of a name beside a row
LONGEST_LABEL = 26  # characters of a name beside a point
MOST_POINTS = 200  # of the picture of values and times
MOST_NAMES = 50  # points, beyond which only those have names that matter most
CROWDED = 12  # points of a picture, from which on intervals are drawn faintly
HEADROOM = 0.05  # of the scale, above it, for names
MUCH_LONGER = 8.0  # times as long
DASHED = (0, (4, 3))
NOISE = {GREEN: "better beyond noise", MUTED: "no difference beyond noise", VERMILION: "worse beyond noise"}
TITLE: dict[str, Any] = {"fontsize": 11.5, "fontweight": "bold", "va": "top"}
UNITS = (("hours", 3600.0, 7200.0), ("minutes", 60.0, 180.0), ("seconds", 1.0, 0.0))  # their seconds, and from where on
TICKS = (*(0.1, 0.3, 1, 3, 10, 30), *(60, 180, 600, 1800), *(3600, 10_800, 36_000, 108_000, 360_000))  # seconds
MOST_TICKS = 8
SPLIT = "validation"  # the split whose published figures can stand beside ours


def draw(comparison: Comparison) -> dict[str, Figure]:
    """Returns the pictures that there is something to draw of, by name. For `lib.evaluation.figures.save_figures`."""
    measured = [row for row in comparison.rows if row.value is not None]
    drawn = {"values": draw_values(comparison)} if measured else {}
    if len(timed(comparison)) > 1:
        drawn["front"] = draw_front(comparison)
    return drawn


def timed(comparison: Comparison) -> list[Row]:
    """Returns the variants that have a value and a time of training."""
    return [row for row in comparison.rows if row.value is not None and row.seconds is not None]


def colour_of(row: Row) -> str:
    """Returns the colour that says how a variant stands to the reference."""
    return {"better": GREEN, "worse": VERMILION}.get(row.relation or "", MUTED)


def draw_front(comparison: Comparison) -> Figure:
    """Draws each variant's value over the time of its training, and the line of those that none beats in as little."""
    metric = comparison.metric
    best = {row.name for row in comparison.first_rows(MOST_POINTS)}
    rows = [row for row in timed(comparison) if row.name in best or row.on_front]
    scale = _scale(rows, metric)
    names, words = short_names(rows)
    figure = Figure(figsize=(WIDTH, 4.9))
    axes = figure.add_axes((0.1, 0.225, 0.865, 0.69))
    axes.spines["top"].set_visible(False)
    axes.set_ylim(scale.low, scale.high + HEADROOM * (scale.high - scale.low))
    as_metric(axes.yaxis, metric)
    axes.set_title(f"{_capital(METRICS[metric])} and time of training{direction(metric)}")
    unit = _as_time(axes, [row.seconds or 0.0 for row in rows])
    lines = [*_draw_points(axes, rows, scale, unit), *_draw_front_line(axes, rows, scale, unit)]
    entries = [
        *_legend(rows),
        Line2D([], [], color=BLUE, linewidth=1.3, alpha=0.6, label="best for its time"),
    ]
    _draw_legend(figure, entries)
    named = [
        Named(
            (row.seconds or 0.0) / unit,
            scale.kept(row.value or 0.0),
            middle_cut(names[row.name], LONGEST_LABEL)
            + ("" if scale.has(row.value or 0.0) else f", {written(metric, row.value)}"),
            bold=row.chosen,
        )
        for row in sorted(rows, key=lambda row: (not row.chosen, not _wanted(row, comparison)))
    ]
    wanted = sum(_wanted(row, comparison) for row in rows)
    left = name_points(figure, axes, named, lines, most=len(rows) if len(rows) <= MOST_NAMES else wanted)
    told = [f"called by {middle_cut(words, LONGEST_NAME)}"] if words else []
    told += [f"{left} without {'its name' if left == 1 else 'their names'}"] if left else []
    figure.text(0.965, 0.125, "; ".join(told), fontsize=8.5, color=MUTED, ha="right", va="bottom")
    return figure


def _wanted(row: Row, comparison: Comparison) -> bool:
    """Whether a variant's name matters more than others'."""
    return row.chosen or row.on_front or not row.candidate or row.name == comparison.reference


def _as_time(axes: Axes, seconds: Sequence[float]) -> float:
    """Has the lower axis count time, by its logarithm where some trainings are much longer than others; returns the
    seconds of its unit."""
    shortest, longest = min(seconds), max(seconds)
    if shortest > 0 and longest / shortest > MUCH_LONGER:
        axes.set_xscale("log")
        room = (longest / shortest) ** 0.08
        axes.set_xlim(shortest / room, longest * room)
        inside = [tick for tick in TICKS if shortest / room <= tick <= longest * room]
        axes.set_xticks(inside[:: 1 + len(inside) // MOST_TICKS])
        axes.xaxis.set_major_formatter(FuncFormatter(_tick))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("time of training", loc="left")
        return 1.0
    name, unit = next((name, unit) for name, unit, least in UNITS if longest >= least)
    room = 0.12 * (longest - shortest or longest or 1.0)
    axes.set_xlim(max(0.0, shortest - room) / unit, (longest + room) / unit)
    axes.set_xlabel(f"{name} of training", loc="left")
    return unit


def _tick(seconds: float, _: object) -> str:
    return f"{seconds:g} s" if seconds < 60 else f"{seconds / 60:g} min" if seconds < 3600 else f"{seconds / 3600:g} h"


def _draw_points(axes: Axes, rows: Sequence[Row], scale: Scale, unit: float) -> Iterator[Line]:
    """Draws the points with their intervals; yields the lines of the latter."""
    faint = 0.22 if len(rows) > CROWDED else 0.5
    for row in rows:
        x, y, colour = (row.seconds or 0.0) / unit, row.value or 0.0, BLUE if row.chosen else colour_of(row)
        if row.low is not None and row.high is not None and scale.has(y):
            ends = (scale.kept(row.low), scale.kept(row.high))
            axes.plot([x, x], ends, color=colour, linewidth=1.4, alpha=faint)
            yield (x, ends[0]), (x, ends[1])
        size = 9 if row.chosen else 7
        axes.plot(x, scale.kept(y), _marker(row), color=colour, markersize=size, zorder=4, clip_on=False)


def _draw_front_line(axes: Axes, rows: Sequence[Row], scale: Scale, unit: float) -> Iterator[Line]:
    """Draws the steps from each of the front to the next one; yields their lines."""
    front = sorted((row.seconds or 0.0, scale.kept(row.value or 0.0)) for row in rows if row.on_front)
    across = [*(x / unit for x, _ in front), axes.get_xlim()[1]]
    up = [*(y for _, y in front), front[-1][1]]
    axes.step(across, up, where="post", color=BLUE, linewidth=1.3, alpha=0.6, zorder=3)
    for (x, y), (next_x, next_y) in pairwise(zip(across, up, strict=True)):
        yield (x, y), (next_x, y)
        yield (next_x, y), (next_x, next_y)


def draw_values(comparison: Comparison) -> Figure:
    """Draws a row for each variant: its value, the interval, and what is published."""
    metric = comparison.metric
    rows = comparison.first_rows(MOST_ROWS)
    names, words = short_names(rows)
    shown = [middle_cut(names[row.name], LONGEST_NAME) for row in rows]
    height = TOP + ROW * (len(rows) + 0.2) + BOTTOM
    figure = Figure(figsize=(WIDTH, height))
    left = _widest(figure, [*shown, middle_cut(words, LONGEST_NAME)]) + 0.15
    figure.set_size_inches(width := left + PLOT + VALUE, height)
    axes = figure.add_axes((left / width, BOTTOM / height, PLOT / width, 1 - (TOP + BOTTOM) / height))
    scale = _scale(rows, metric, [_published(row, metric) for row in rows])
    reference = comparison.reference_row
    if reference is not None and reference.value is not None and scale.has(reference.value):
        axes.axvline(reference.value, color=INK, linewidth=1.0, linestyle=DASHED, alpha=0.6)
    axes.set_xlim(scale.low, scale.high)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    for place, row in enumerate(rows):
        _draw_row(axes, row, place, scale, metric)
    axes.set_yticks(range(len(rows)), shown)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.chosen else "normal")
        label.set_color(INK if row.value is not None else MUTED)
    axes.tick_params(axis="y", length=0, pad=8)
    axes.grid(visible=False, axis="y")
    axes.spines[["left", "top"]].set_visible(False)
    as_metric(axes.xaxis, metric)
    axes.set_xlabel(f"{METRICS[metric]} on {comparison.messages:,} {comparison.measured_on}{direction(metric)}")
    others = len(comparison.rows) - len(rows)
    best = f" (without {others} others)" if others else ""
    inch = 1 / height
    figure.text(0.1 / width, 1 - 0.14 * inch, f"{_capital(METRICS[metric])} of each variant{best}", **TITLE)
    if words:
        told: dict[str, Any] = {"fontsize": 8.5, "color": MUTED, "ha": "right", "va": "center"}
        figure.text((left - 0.11) / width, 1 - 0.48 * inch, middle_cut(words, LONGEST_NAME), **told)
    entries = _legend(rows)
    if any(_published(row, metric) is not None for row in rows):
        entries.append(Line2D([], [], marker="D", color=PURPLE, linestyle="none", fillstyle="none", label="published"))
    if reference is not None and len(rows) > 1:
        entries.append(Line2D([], [], color=INK, linewidth=1.0, linestyle=DASHED, label="reference"))
    _draw_legend(figure, entries)
    return figure


def _widest(figure: Figure, texts: Sequence[str]) -> float:
    """Returns how wide the widest of some texts is, in inches, if it is bold."""
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    drawn = [figure.text(0, 0, text, fontweight="bold") for text in texts]
    widest = max(text.get_window_extent(renderer).width for text in drawn) / figure.dpi
    for text in drawn:
        text.remove()
    return float(widest)


def _draw_legend(figure: Figure, entries: Sequence[Line2D]) -> None:
    figure.legend(
        handles=list(entries),
        loc="lower left",
        bbox_to_anchor=(0.01, 0.0),
        ncols=3,
        fontsize=8.5,
        handletextpad=0.4,
        columnspacing=1.4,
        borderaxespad=0.3,
    )


def _draw_row(axes: Axes, row: Row, place: int, scale: Scale, metric: Metric) -> None:
    told: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center_baseline", "clip_on": False}
    if row.value is None:
        axes.text(0.01, place, row.state if not row.repeats else "not measured", color=MUTED, fontsize=9, **told)
        return
    colour = BLUE if row.chosen else colour_of(row)
    if row.low is not None and row.high is not None:
        ends = [scale.kept(row.low), scale.kept(row.high)]
        axes.plot(ends, [place, place], color=colour, linewidth=3.6, alpha=0.4, solid_capstyle="round")
    inside = scale.has(row.value)
    marker = _marker(row) if inside else "<" if row.value < scale.low else ">"
    axes.plot(scale.kept(row.value), place, marker, color=colour, markersize=7, zorder=4, clip_on=False)
    published = _published(row, metric)
    if published is not None:
        axes.plot(
            published, place, "D", markersize=6, markerfacecolor="none", markeredgecolor=PURPLE, zorder=5, clip_on=False
        )
    weight = "bold" if row.chosen else "normal"
    axes.text(1.02, place, written(metric, row.value), fontsize=9, fontweight=weight, color=INK, **told)


def _published(row: Row, metric: Metric) -> float | None:
    return row.published.get(SPLIT) if metric == "accuracy" else None


def _scale(rows: Sequence[Row], metric: Metric, published: Sequence[float | None] = ()) -> Scale:
    return scale_of(
        [row.value for row in rows if row.value is not None],
        metric,
        [
            (row.value, row.low, row.high)
            for row in rows
            if row.value is not None and row.low is not None and row.high is not None
        ],
        [value for value in published if value is not None],
    )


def _marker(row: Row) -> str:
    return "o" if row.candidate else "s"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _legend(rows: Sequence[Row]) -> list[Line2D]:
    """Explains the markers and colours that occur."""

    def sign(marker: str, colour: str, label: str, **rest: Any) -> Line2D:
        return Line2D([], [], marker=marker, color=colour, linestyle="none", markersize=7, label=label, **rest)

    others = [row for row in rows if not row.chosen and row.value is not None]
    entries = [sign("o", BLUE, "chosen")] if any(row.chosen for row in rows) else []
    entries += [
        sign("o", colour, label)
        for colour, label in NOISE.items()
        if any(colour_of(row) == colour and row.p_value is not None for row in others)
    ]
    if any(not row.candidate for row in others):
        entries.append(sign("s", INK, "cannot be chosen", markerfacecolor="none"))
    return entries
