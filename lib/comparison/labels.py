"""Places names beside points so that none covers another one, a point, or the edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from lib.evaluation.figures import INK, MUTED

MARKER = 5.0  # points from a marker's middle to its edge
# Where a name may stand, the best places first: points to the right and up, from the marker.
SIDES = ((1, 0), (1, 1), (1, -1), (-1, 0), (-1, 1), (-1, -1), (0, 1), (0, -1))
# Points from the middle of the point, each with its cost, in lines that the name would cross.
DISTANCES = {7.0: 0.0, 16.0: 0.6, 27.0: 1.6, 40.0: 2.6}
NEAR = 7.0  # points, within which a name needs no line to its point
GAP = 1.5  # points between two names

Floats = NDArray[np.float64]
Line = tuple[tuple[float, float], tuple[float, float]]  # from one point to another


@dataclass(frozen=True)
class Named:
    """A point of a picture."""

    x: float
    y: float
    name: str
    bold: bool = False


def name_points(figure: Figure, axes: Axes, points: Sequence[Named], lines: Sequence[Line] = (), *, most: int) -> int:
    """Writes as many names of points as there is room for, `most` at most, the first ones before the others, each where
    it crosses the fewest of the lines, and far from its point with a line to it; returns how many have none. Limits,
    scales and the place of the axes must be final."""
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    unit = figure.dpi / 72
    inside = axes.get_window_extent(renderer)
    middles = [axes.transData.transform((point.x, point.y)) for point in points]
    taken = [_box(middle, MARKER * unit) for middle in middles]
    names: list[Bbox] = []
    crossed: list[Floats] = [axes.transData.transform(line) for line in lines]
    left = len(points[most:])
    for point, middle in zip(points[:most], middles, strict=False):
        size = _size(figure, point, renderer)
        least, chosen = np.inf, None
        for distance, cost in DISTANCES.items():
            for side in SIDES:
                offset = distance * np.array(side)
                box = _beside(middle, offset * unit, size).padded(GAP * unit)
                leader = np.array([middle, (box.p0 + box.p1) / 2]) if distance > NEAR else None
                if not _within(box, inside) or any(box.overlaps(other) for other in taken):
                    continue
                if leader is not None and any(_passes(leader, other) for other in names):
                    continue
                price = cost + sum(_passes(line, box) for line in crossed)
                if price < least:
                    least, chosen = price, (offset, box, leader)
        if chosen is None:
            left += 1
            continue
        offset, box, leader = chosen
        _write(axes, point, offset, with_line=leader is not None)
        taken.append(box)
        names.append(box)
        crossed += [] if leader is None else [leader]
    return left


def _size(figure: Figure, point: Named, renderer: RendererBase) -> Floats:
    """Returns a name's width and height (2,), in pixels."""
    text = figure.text(0, 0, point.name, **_style(point))
    box = text.get_window_extent(renderer)
    text.remove()
    return np.array([box.width, box.height])


def _style(point: Named) -> dict[str, Any]:
    return {"fontsize": 8.5, "fontweight": "bold" if point.bold else "normal", "color": INK}


def _beside(middle: Floats, offset: Floats, size: Floats) -> Bbox:
    """Returns where a name of this size is, if it begins, ends or is centred so far from a point."""
    low = middle + offset - size * (1 - np.sign(offset)) / 2
    return Bbox.from_extents(*low, *(low + size))


def _write(axes: Axes, point: Named, offset: Floats, *, with_line: bool) -> None:
    across, up = offset.tolist()
    line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 4}
    axes.annotate(
        point.name,
        (point.x, point.y),
        xytext=(across, up),
        textcoords="offset points",
        ha="left" if across > 0 else "right" if across < 0 else "center",
        va="bottom" if up > 0 else "top" if up < 0 else "center",
        arrowprops=line if with_line else None,
        zorder=6,
        **_style(point),
    )


def _box(middle: Floats, half: float) -> Bbox:
    return Bbox.from_extents(*(middle - half), *(middle + half))


def _within(box: Bbox, room: Bbox) -> bool:
    return bool(box.x0 >= room.x0 and box.x1 <= room.x1 and box.y0 >= room.y0 and box.y1 <= room.y1)


def _passes(line: Floats, box: Bbox) -> bool:
    """Whether a line from one point to another (2, 2) goes through a box: it is inside in both directions at once."""
    (start, end), low, high = line, box.p0, box.p1
    along = end - start
    begin, stop = 0.0, 1.0
    for axis in (0, 1):
        if along[axis] == 0:
            if not low[axis] <= start[axis] <= high[axis]:
                return False
            continue
        ends = sorted(((low[axis] - start[axis]) / along[axis], (high[axis] - start[axis]) / along[axis]))
        begin, stop = max(begin, ends[0]), min(stop, ends[1])
    return begin <= stop
