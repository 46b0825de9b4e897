"""Figures of an evaluation: the style, the files, and the curves that every training has.

Equal numbers give equal bytes: files have no date, the font is matplotlib's own, pyplot's global state is not used.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

DPI = 150
# M. Okabe and K. Ito, "Color Universal Design" (2008): distinguishable with any colour vision.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW = "#E69F00", "#56B4E9", "#B8A800"  # the palette's yellow, darkened for white paper
INK, MUTED, FAINT = "#222222", "#6B6B6B", "#D9D9D9"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, YELLOW)

STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # a label may contain dollar signs
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
# Without these, files would contain the time and the program's version.
METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


@contextmanager
def styled() -> Iterator[None]:
    """Draws what is drawn inside in this project's style, whatever a user's own matplotlibrc says."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type] # typed for literal keys only
        # A label in a script that the font lacks is drawn as boxes; the report shows it in full.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


def save_figures(folder: Path, draw: Callable[[], dict[str, Figure]]) -> list[str]:
    """Writes what `draw` returns into `folder`, as PNG and PDF; returns the names."""
    folder.mkdir(parents=True, exist_ok=True)
    with styled():
        drawn = draw()
        for name, figure in drawn.items():
            figure.set_dpi(DPI)
            # `savefig` would draw each file twice, to lay it out before; to do that takes as long as to draw it.
            FigureCanvasAgg(figure).print_png(folder / f"{name}.png", metadata=METADATA["png"])  # type: ignore[no-untyped-call]
            figure.set_layout_engine("none")
            FigureCanvasPdf(figure).print_pdf(folder / f"{name}.pdf", metadata=METADATA["pdf"])  # type: ignore[no-untyped-call]
    return list(drawn)


def draw_loss(history: pd.DataFrame, above: str = "examples_seen") -> Figure:
    """Draws training and validation loss over epochs and marks the lowest validation loss. `above`: the history's
    column that the upper axis counts."""
    figure, axes = draw_curves(history, "loss", title="Loss", unit="cross-entropy (nats)", above=above)
    axes.set_ylim(bottom=0)
    best = best_row(history)
    if best is not None:
        mark(axes, best["epoch"], best["validation_loss"], f"lowest: {best['validation_loss']:.3f}")
    return figure


def draw_curves(
    history: pd.DataFrame, measure: str, *, title: str, unit: str, above: str = "examples_seen"
) -> tuple[Figure, Axes]:
    """Draws both splits' curve of one measure over epochs, with examples or tokens seen on the upper axis."""
    figure = Figure(figsize=(7.2, 4.3), layout="constrained")
    axes = figure.add_subplot()
    for split, colour in (("train", BLUE), ("validation", VERMILION)):
        measured = history.dropna(subset=f"{split}_{measure}")
        marker = "o" if len(measured) <= 12 else ""
        axes.plot(
            measured["epoch"], measured[f"{split}_{measure}"], color=colour, marker=marker, markersize=4, label=split
        )
    figure.legend(loc="upper right", ncols=2)  # beside the title, where no curve can run through it
    axes.set(title=title, xlabel="epochs", ylabel=unit)
    axes.set_xlim(left=0, right=max(float(history["epoch"].max()) * 1.02, 1e-9) if len(history) else 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
    axes.spines["top"].set_color(FAINT)
    if len(history):
        last = history.iloc[-1]
        seen = float(last[above]) / max(float(last["epoch"]), 1e-9)
        upper = axes.secondary_xaxis("top", functions=(partial(np.multiply, seen), partial(np.multiply, 1 / seen)))
        upper.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        upper.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        upper.set_xlabel(above.replace("_", " "))
    return figure, axes


def best_row(history: pd.DataFrame) -> dict[str, float] | None:
    """Returns the row with the lowest validation loss, which `keep: best` chooses."""
    rows = history.dropna(subset="validation_loss")
    if rows.empty:
        return None
    best = rows.iloc[int(rows["validation_loss"].argmin())]
    return {str(name): float(value) for name, value in best.items()}


def mark(axes: Axes, x: float, y: float, text: str, *, below: bool = False) -> None:
    """Draws a ring at a point, with a note that stays inside the axes."""
    axes.plot(x, y, "o", markersize=11, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.4, zorder=4)
    right = x > sum(axes.get_xlim()) / 2
    axes.annotate(
        text,
        (x, y),
        xytext=(-10 if right else 10, -26 if below else 22),
        textcoords="offset points",
        ha="right" if right else "left",
        color=INK,
        fontsize=9,
        bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
        arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.8, "shrinkB": 6},
        zorder=5,
    )
