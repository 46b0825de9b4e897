"""The pictures of an evaluation: curves while training, and what came out on the test split.

Here belongs drawing alone; the numbers are `metrics`', and what is said about the pictures is `report`'s. Each
picture is written as PNG for pages and as PDF for print. The same numbers give the same bytes: nothing dates the
files, and the font is the one that ships with matplotlib. Matplotlib's pyplot, with its global figures and its
choice of window system, is not used.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_curve

from lib.model.labels import Probabilities, Targets

DPI = 150
# M. Okabe and K. Ito, "Color Universal Design" (2008): told apart by readers with any colour vision.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW = "#E69F00", "#56B4E9", "#B8A800"  # the palette's yellow, darkened to be seen on white
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
# Without these, files would carry the time of writing and the version of the program.
METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}

WORDED_CELLS = 4  # classes up to which each cell also says its share, and no scale of shades is needed
NAMED_CELLS = 12  # classes up to which each cell of the confusion matrix holds its number
NAMED_CLASSES = 40  # classes up to which the axes of the confusion matrix name them
LONGEST_LABEL = 24  # characters of a label that a picture has room for


def write_figures(
    folder: Path,
    *,
    history: pd.DataFrame,
    majority_share: float,
    targets: Targets,
    probabilities: Probabilities,
    given: Targets,
    baseline: Probabilities | None,
    labels: tuple[str, ...],
    positive: str | None,
) -> list[str]:
    """Draw every picture into `folder`, as PNG and as PDF; returns their names, in the order to show them in.

    `history` has the columns of the training's history. `majority_share` is the accuracy on the validation split of
    always answering with the most frequent label. `targets` and `given` (rows,), the true and the given labels,
    `probabilities` and `baseline` (rows, classes) are those of the test split.
    """

    def draw() -> dict[str, Figure]:
        return {
            "loss": draw_loss(history),
            "accuracy": draw_accuracy(history, majority_share),
            "confusion": draw_confusion(targets, given, labels),
            "precision_recall": draw_precision_recall(targets, probabilities, given, baseline, labels, positive),
        }

    return save_figures(folder, draw)


def save_figures(folder: Path, draw: Callable[[], dict[str, Figure]]) -> list[str]:
    """Write what `draw` returns into `folder`, as PNG and as PDF, in the house's style; returns the names."""
    folder.mkdir(parents=True, exist_ok=True)
    # A user's own matplotlibrc must not change the bytes.
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type] # typed for literal keys only
        # A label in a script that the font lacks is drawn as boxes; the report beside it has it in full.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        drawn = draw()
        for name, figure in drawn.items():
            for kind, metadata in METADATA.items():
                figure.savefig(folder / f"{name}.{kind}", dpi=DPI, metadata=metadata)
    return list(drawn)


def draw_loss(history: pd.DataFrame, above: str = "examples_seen") -> Figure:
    """Training and validation loss over epochs, with the lowest validation loss marked.

    `above`: the history's column that the upper axis counts.
    """
    figure, axes = _curves(history, "loss", title="Loss", unit="cross-entropy (nats)", above=above)
    axes.set_ylim(bottom=0)
    best = _best(history)
    if best is not None:
        _mark(axes, best["epoch"], best["validation_loss"], f"lowest: {best['validation_loss']:.3f}")
    return figure


def draw_accuracy(history: pd.DataFrame, majority_share: float) -> Figure:
    """Training and validation accuracy over epochs, over what always answering the most frequent label would have."""
    figure, axes = _curves(history, "accuracy", title="Accuracy", unit="messages classified correctly")
    axes.axhline(majority_share, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.annotate(
        f"always the most frequent label: {majority_share:.1%}",
        (1, majority_share),
        xycoords=("axes fraction", "data"),
        xytext=(-4, -4),  # below the line: the curves, and what is written at them, are above it
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=9,
        color=MUTED,
    )
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    shown = history[["train_accuracy", "validation_accuracy"]].min().min()
    lowest = majority_share if np.isnan(shown) else min(majority_share, float(shown))
    axes.set_ylim(max(0.0, lowest - 0.1 * (1 - lowest) - 0.005), 1 + 0.04 * (1 - lowest) + 0.002)
    best = _best(history)
    if best is not None and not np.isnan(value := best["validation_accuracy"]):
        _mark(axes, best["epoch"], value, f"at the lowest validation loss: {value:.1%}", below=True)
    return figure


def draw_confusion(targets: Targets, given: Targets, labels: tuple[str, ...]) -> Figure:
    """What became of the test messages of each label: counts, shaded by their share of the true label."""
    counts = confusion_matrix(targets, given, labels=np.arange(len(labels)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = float(np.clip(2.9 + 0.55 * len(labels), 4.0, 10.0))
    in_words = len(labels) <= WORDED_CELLS
    figure = Figure(figsize=(size + (0 if in_words else 0.9), size), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if not in_words:
        figure.colorbar(image, ax=axes, format=PercentFormatter(xmax=1), fraction=0.046, label="share of the row")
    shading = "shares are of the row" if in_words else "shaded by its share of the row"
    axes.set(title="Confusion on the test split", xlabel="predicted label", ylabel=f"true label ({shading})")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if len(labels) <= NAMED_CLASSES:
        names = [_short(label) for label in labels]
        slanted: dict[str, Any] = (
            {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 8 else {}
        )
        axes.set_xticks(range(len(labels)), names, **slanted)
        axes.set_yticks(range(len(labels)), names)
    axes.tick_params(length=0)
    if len(labels) <= NAMED_CELLS:
        for row, column in np.ndindex(counts.shape):
            share = shares[row, column]
            text = f"{counts[row, column]:,}" + (f"\n{share:.1%}" if in_words else "")
            axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.55 else INK)
    return figure


def draw_precision_recall(
    targets: Targets,
    probabilities: Probabilities,
    given: Targets,
    baseline: Probabilities | None,
    labels: tuple[str, ...],
    positive: str | None,
) -> Figure:
    """Precision against recall on the test split as the threshold moves; with more classes each against the rest.

    Of many classes, those with the lowest average precision are shown.
    """
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.add_subplot()
    present = [index for index in range(len(labels)) if (targets == index).any()]
    shown = _hardest(targets, probabilities, present) if positive is None else [labels.index(positive)]
    for index, colour in zip(shown, CYCLE, strict=False):
        if index not in present:
            continue
        name = "classifier" if positive is not None else _short(labels[index])
        _precision_recall(axes, targets == index, probabilities[:, index], name, color=colour, linewidth=2.0)
        if positive is not None and baseline is not None:
            _precision_recall(
                axes, targets == index, baseline[:, index], "baseline", color=MUTED, linestyle=(0, (4, 3)), zorder=1.5
            )
        hits = (given == index) & (targets == index)
        answers = int((given == index).sum())
        if answers:
            # Where the classifier's own answers lie on its curve.
            point = (hits.sum() / (targets == index).sum(), hits.sum() / answers)
            axes.plot(*point, "o", color=colour, markeredgecolor="white", markersize=8, zorder=3, clip_on=False)
    axes.set(title="Precision and recall on the test split", xlabel="recall", ylabel="precision")
    axes.set(xlim=(0, 1.005), ylim=(0, 1.02))
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.spines["top"].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        about = f" for {_short(positive)}" if positive is not None else ""
        axes.legend(loc="lower left", title=f"average precision{about}", alignment="left")
    return figure


def _hardest(targets: Targets, probabilities: Probabilities, present: Sequence[int]) -> list[int]:
    """As many of the classes as there are colours: those with the lowest average precision, in their own order."""
    scores = {index: average_precision_score(targets == index, probabilities[:, index]) for index in present}
    return sorted(sorted(scores, key=lambda index: (scores[index], index))[: len(CYCLE)])


def _precision_recall(
    axes: Axes,
    truth: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    scores: Probabilities,
    name: str,
    **style: object,
) -> None:
    precision, recall, _ = precision_recall_curve(truth, scores)
    label = f"{name} {average_precision_score(truth, scores):.3f}"
    axes.plot(recall, precision, drawstyle="steps-post", label=label, **style)  # type: ignore[arg-type]


def _curves(
    history: pd.DataFrame, measure: str, *, title: str, unit: str, above: str = "examples_seen"
) -> tuple[Figure, Axes]:
    """Both splits' curve of one measure; epochs below, examples or tokens seen above."""
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


def _best(history: pd.DataFrame) -> dict[str, float] | None:
    """The row with the lowest validation loss, which `keep: best` chooses."""
    rows = history.dropna(subset="validation_loss")
    if rows.empty:
        return None
    best = rows.iloc[int(rows["validation_loss"].argmin())]
    return {name: float(best[name]) for name in ("epoch", "validation_loss", "validation_accuracy")}


def _mark(axes: Axes, x: float, y: float, text: str, *, below: bool = False) -> None:
    """A ring at a point, with a note that stays inside the axes."""
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


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"
