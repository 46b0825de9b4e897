"""Draws charts as SVG for a page: scaled to any width, coloured by the page's own light or dark theme, sharp on paper.

Colours are classes (`c1` to `c4`) of the page's style. Each chart says in words what it shows, for who cannot see it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from markupsafe import Markup, escape

WIDTH, HEIGHT = 440, 290  # units; text is 12 of them, so that it can be read on a phone
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 34, 44  # room for ticks and labels
MOST_TICKS = 6
STEPS = (1, 2, 2.5, 5, 10)
LEGEND_LETTER = 6.4  # mean width of a letter
MOST_POINTS = 400  # of a curve


@dataclass(frozen=True)
class Axis:
    """What is measured along an axis, from `low` to `high`."""

    label: str
    low: float
    high: float
    percent: bool = False


@dataclass(frozen=True)
class Curve:
    """A line through points (x, y). colour: 1 to 4. dots: mark each point. stepped: go along x first."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 1
    dashed: bool = False
    dots: bool = False
    stepped: bool = False


@dataclass(frozen=True)
class Mark:
    """A point that is circled, with a note beside it."""

    x: float
    y: float
    note: str
    colour: int = 1


@dataclass(frozen=True)
class Chart:
    """Curves over two axes. described: what it shows, in a sentence or two. bars: vertical lines (x, low, high)."""

    described: str
    x: Axis
    y: Axis
    curves: Sequence[Curve]
    marks: Sequence[Mark] = ()
    bars: Sequence[tuple[float, float, float]] = field(default=())

    def draw(self) -> Markup:
        """Returns the SVG element."""
        parts = [*self._grid(), *self._legend(), *map(self._bar, self.bars), *map(self._curve, self.curves)]
        parts += [self._mark(mark) for mark in self.marks]
        return picture(self.described, WIDTH, HEIGHT, parts)

    def _across(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.x.low) / (self.x.high - self.x.low)

    def _up(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.y.low) / (self.y.high - self.y.low)

    def _grid(self) -> list[Markup]:
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        lines = []
        for value in ticks(self.y.low, self.y.high):
            y = self._up(value)
            lines.append(_format('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>', LEFT, right, y, y))
            lines.append(_text(LEFT - 7, y + 4, tick(value, self.y), "end"))
        for value in ticks(self.x.low, self.x.high):
            lines.append(_text(self._across(value), bottom + 17, tick(value, self.x), "middle"))
        lines.append(_format('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>', LEFT, right, bottom, bottom))
        lines.append(_text((LEFT + right) / 2, HEIGHT - 6, self.x.label, "middle", "label"))
        lines.append(
            _format(
                '<text class="label" text-anchor="middle" transform="translate(12 {:.1f}) rotate(-90)">{}</text>',
                (TOP + bottom) / 2,
                self.y.label,
            )
        )
        return lines

    def _legend(self) -> list[Markup]:
        parts, x = [], float(LEFT)
        for curve in self.curves:
            parts.append(
                _format('<line class="curve {}" x1="{:.0f}" x2="{:.0f}" y1="14" y2="14"/>', _style(curve), x, x + 22)
            )
            parts.append(_text(x + 27, 18, curve.name, "start", "label"))
            x += 44 + LEGEND_LETTER * len(curve.name)
        return parts

    def _curve(self, curve: Curve) -> Markup:
        points = [(self._across(x), self._up(y)) for x, y in thinned(curve.points)]
        if curve.stepped:
            corners = ((after[0], before[1]) for before, after in pairwise(points))
            points = [*points[:1], *(each for pair in zip(corners, points[1:], strict=True) for each in pair)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        line = _format('<polyline class="curve {}" points="{}"/>', _style(curve), path)
        if not curve.dots:
            return line
        dots = (_format('<circle class="dot c{}" cx="{:.1f}" cy="{:.1f}" r="3"/>', curve.colour, *at) for at in points)
        return line + Markup("").join(dots)

    def _bar(self, bar: tuple[float, float, float]) -> Markup:
        x, low, high = bar
        return _format(
            '<line class="bar" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>',
            self._across(x),
            self._up(low),
            self._up(high),
        )

    def _mark(self, mark: Mark) -> Markup:
        """The note stands where there is room: away from the nearer side, and below a point near the top."""
        x, y = self._across(mark.x), self._up(mark.y)
        on_the_right = x > (LEFT + WIDTH - RIGHT) / 2
        ring = _format('<circle class="ring c{}" cx="{:.1f}" cy="{:.1f}" r="6"/>', mark.colour, x, y)
        below = 22 if y < (TOP + HEIGHT - BOTTOM) / 2 else -13
        anchor = "end" if on_the_right else "start"
        return ring + _text(x + (9 if on_the_right else -9), y + below, mark.note, anchor, "tick halo")


@dataclass(frozen=True)
class Interval:
    """A share with its interval, on a line of its own; low and high may be those of the share itself."""

    name: str
    value: float
    low: float
    high: float
    colour: int = 1


def intervals(rows: Sequence[Interval], described: str) -> Markup:
    """Draws shares with their intervals below each other, on one scale."""
    names = 12 + 6.6 * max(len(row.name) for row in rows)
    low, high = min(row.low for row in rows), max(row.high for row in rows)
    room = max(high - low, 0.02)
    low, high = max(0.0, low - 0.08 * room), min(1.0, high + 0.08 * room)
    height, right = 30 * len(rows) + 24, WIDTH - 62

    def across(value: float) -> float:
        return names + (right - names) * (value - low) / (high - low)

    parts = []
    axis = Axis("", low, high, percent=True)
    for value in ticks(low, high, 4):
        x = across(value)
        parts.append(_format('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}"/>', x, height - 20))
        parts.append(_text(x, height - 5, tick(value, axis), "middle"))
    for number, row in enumerate(rows):
        y = 30 * number + 15
        parts += [
            _text(0, y + 4, row.name, "start", "label"),
            _format(
                '<line class="range c{}" x1="{:.1f}" x2="{:.1f}" y1="{y}" y2="{y}"/>',
                row.colour,
                across(row.low),
                across(row.high),
                y=y,
            ),
            _format('<circle class="dot c{}" cx="{:.1f}" cy="{}" r="5"/>', row.colour, across(row.value), y),
            _text(WIDTH, y + 4, f"{row.value:.2%}", "end", "value"),
        ]
    return picture(described, WIDTH, height, parts)


def heat_map(confusion: Sequence[Sequence[int]], labels: Sequence[str], described: str) -> Markup:
    """Draws a confusion matrix of many labels, rows true and columns predicted, each cell shaded by its share of the
    row; what a cell stands for is said where a pointer rests on it."""
    size = WIDTH / len(labels)
    parts = [_format('<rect class="frame" width="{0}" height="{0}"/>', WIDTH)]
    for row, counts in enumerate(confusion):
        for column, count in enumerate(counts):
            if count:
                told = f"{labels[row]}, called {labels[column]}: {count:,} of {sum(counts):,}"
                parts.append(
                    _format(
                        '<rect class="cell {}" x="{:.2f}" y="{:.2f}" width="{s:.2f}" height="{s:.2f}"'
                        ' fill-opacity="{:.2f}"><title>{}</title></rect>',
                        "right" if row == column else "wrong",
                        size * column,
                        size * row,
                        0.15 + 0.85 * count / sum(counts),
                        told,
                        s=size,
                    )
                )
    return picture(described, WIDTH, WIDTH, parts)


def picture(described: str, width: float, height: float, parts: Sequence[Markup]) -> Markup:
    """Returns an SVG element of this size in its own units, which fills the width that it is given."""
    return _format(
        '<svg viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">{}</svg>',
        width,
        height,
        described,
        Markup("").join(parts),
    )


def ticks(low: float, high: float, most: int = MOST_TICKS) -> list[float]:
    """Returns round numbers from `low` to `high`, at most `most`."""
    rough = (high - low) / max(1, most - 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(each * power for each in STEPS if each * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def tick(value: float, axis: Axis) -> str:
    """Writes a tick's number, with as many digits as the axis needs."""
    span = (axis.high - axis.low) * (100 if axis.percent else 1)
    digits = max(0, math.ceil(-math.log10(span / MOST_TICKS) - 1e-9))
    return f"{100 * value:.{digits}f}%" if axis.percent else f"{value:,.{digits}f}"


def thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Returns at most MOST_POINTS of the points, in even steps, with the last one."""
    every = math.ceil(len(points) / MOST_POINTS)
    return points if every <= 1 else [*points[:-1:every], points[-1]]


def _style(curve: Curve) -> str:
    return f"c{curve.colour}{' dashed' if curve.dashed else ''}"


def _text(x: float, y: float, words: str, anchor: str, style: str = "tick") -> Markup:
    return _format('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>', style, x, y, anchor, words)


def _format(template: str, *values: object, **named: object) -> Markup:
    """Fills a template; text is escaped, Markup is not."""
    return Markup(template).format(*map(_safe, values), **{name: _safe(value) for name, value in named.items()})


def _safe(value: object) -> object:
    return escape(value) if isinstance(value, str) else value
