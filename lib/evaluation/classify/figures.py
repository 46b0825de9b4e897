"""Draws a classifier's evaluation: the training curves and the results on the test split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from lib.evaluation.classify.calibration import Calibration
from lib.evaluation.classify.metrics import confusion_of
from lib.evaluation.classify.ranks import Ranks
from lib.evaluation.figures import (
    BLUE,
    CYCLE,
    INK,
    MUTED,
    VERMILION,
    best_row,
    draw_curves,
    draw_loss,
    mark,
    save_figures,
)
from lib.model.labels import Probabilities, Targets

WORDED_CELLS = 4  # classes up to which each cell also shows its share, instead of a colour scale
NAMED_CELLS = 12  # classes up to which each cell of the confusion matrix shows its count
NAMED_CLASSES = 40  # classes up to which the axes of the confusion matrix name them
MOST_DRAWN = 2_000  # points of a curve of precision and recall
LONGEST_LABEL = 24  # characters of a label that a figure has room for


@dataclass(frozen=True)
class Outcome:
    """Results on the test split: true and predicted labels (rows,), and the probabilities (rows, classes) of the
    classifier and of the baseline, if any. calibrations: one or two, by what the probabilities are."""

    targets: Targets
    given: Targets
    probabilities: Probabilities
    baseline: Probabilities | None
    labels: tuple[str, ...]
    positive: str | None
    calibrations: Mapping[str, Calibration]


def write_figures(folder: Path, outcome: Outcome, *, history: pd.DataFrame, majority_share: float) -> list[str]:
    """Draws every figure into `folder`, as PNG and PDF; returns their names in display order. `history` is the
    training's history table. `majority_share`: validation accuracy of always giving the most frequent label."""

    def draw() -> dict[str, Figure]:
        return {
            "loss": draw_loss(history),
            "accuracy": draw_accuracy(history, majority_share),
            "confusion": draw_confusion(outcome.targets, outcome.given, outcome.labels),
            "precision_recall": draw_precision_recall(outcome),
            "reliability": draw_reliability(outcome.calibrations),
        }

    return save_figures(folder, draw)


def draw_accuracy(history: pd.DataFrame, majority_share: float) -> Figure:
    """Draws training and validation accuracy over epochs, with the accuracy of the most frequent label."""
    figure, axes = draw_curves(history, "accuracy", title="Accuracy", unit="messages classified correctly")
    axes.axhline(majority_share, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.annotate(
        f"always the most frequent label: {majority_share:.1%}",
        (1, majority_share),
        xycoords=("axes fraction", "data"),
        xytext=(-4, -4),  # below the line: the curves and their notes are above it
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
    best = best_row(history)
    if best is not None and not np.isnan(value := best["validation_accuracy"]):
        mark(axes, best["epoch"], value, f"at the lowest validation loss: {value:.1%}", below=True)
    return figure


def draw_confusion(targets: Targets, given: Targets, labels: tuple[str, ...]) -> Figure:
    """Draws the confusion matrix of the test messages: counts, shaded by their share of the true label."""
    counts = confusion_of(targets, given, len(labels))
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


def draw_precision_recall(outcome: Outcome) -> Figure:
    """Draws precision against recall on the test split; with more than two classes each against the rest. Of many
    classes, shows those with the lowest average precision."""
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.add_subplot()
    targets, given, probabilities, baseline = outcome.targets, outcome.given, outcome.probabilities, outcome.baseline
    labels, positive = outcome.labels, outcome.positive
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
            # The classifier's operating point on its curve.
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


def draw_reliability(measured: Mapping[str, Calibration]) -> Figure:
    """Draws how often the test split's answers are right against how sure the classifier is of them, with intervals,
    and how many are so sure. `measured`: one or two calibrations, by what the probabilities are."""
    figure = Figure(figsize=(6.4, 5.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    lowest = min(found.bins[0].low for found in measured.values())
    ideal: dict[str, Any] = {"color": MUTED, "linewidth": 1.2, "linestyle": (0, (4, 3))}
    above.plot([lowest, 1], [lowest, 1], label="right as often as it says", **ideal)
    # Told apart by colour, and in print by shape, filling and hatching.
    styles = (("o", BLUE, BLUE, ""), ("s", VERMILION, "white", "////"))
    for place, ((name, found), (marker, colour, filling, hatch)) in enumerate(
        zip(measured.items(), styles, strict=False)
    ):
        sure, right, rows = (
            np.array([getattr(each, what) for each in found.bins]) for what in ("confidence", "accuracy", "rows")
        )
        ends = np.array([each.interval for each in found.bins]).T
        label = f"{name}: {found.error:.1%} away on average, {found.by_chance:.1%} by chance"
        above.vlines(sure, *ends, color=colour, linewidth=1.2, zorder=3, clip_on=False)
        point = {"color": colour, "marker": marker, "markerfacecolor": filling, "markersize": 7, "zorder": 3}
        above.plot(sure, right, linestyle="", clip_on=False, label=label, **point)
        width = (found.bins[0].high - found.bins[0].low) / len(measured)
        left = np.array([each.low for each in found.bins]) + place * width
        below.bar(left, rows, width, align="edge", facecolor=filling, edgecolor=colour, hatch=hatch)
    above.set(title="Are probabilities as right as they say?", ylabel="right labels", ylim=(0, 1.02))
    below.set(xlabel="probability of the most probable label", ylabel="messages", yscale="log", xlim=(lowest, 1))
    below.set_ylim(bottom=0.7)  # one message is seen, too
    above.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    below.xaxis.set_major_formatter(PercentFormatter(xmax=1))
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    figure.legend(loc="outside lower left", fontsize=9)
    return figure


def _hardest(targets: Targets, probabilities: Probabilities, present: Sequence[int]) -> list[int]:
    """Returns as many classes as there are colours, those with the lowest average precision, in their own order."""
    scores = {
        index: Ranks.of(targets == index, probabilities[:, index]).curve(1).average_precision for index in present
    }
    return sorted(sorted(scores, key=lambda index: (scores[index], index))[: len(CYCLE)])


def _precision_recall(
    axes: Axes,
    truth: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    scores: Probabilities,
    name: str,
    **style: object,
) -> None:
    curve = Ranks.of(truth, scores).curve(MOST_DRAWN)
    recall, precision = np.append(curve.recall, 0.0), np.append(curve.precision, 1.0)  # as scikit-learn ends it
    label = f"{name} {curve.average_precision:.3f}"
    axes.plot(recall, precision, drawstyle="steps-post", label=label, **style)  # type: ignore[arg-type]


def _short(label: str) -> str:
    """Returns the label on one line and not too long; a dollar sign would begin a formula."""
    line = " ".join(label.split())
    return (line if len(line) <= LONGEST_LABEL else f"{line[: LONGEST_LABEL - 1]}…").replace("$", r"\$")
