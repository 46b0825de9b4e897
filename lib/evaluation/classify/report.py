"""Writes the evaluation as one self-contained page, `report.html`, laid out by `assets/report.html`.

The page makes no requests and runs no scripts; the template engine escapes all text. Equal figures give equal bytes.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

TEMPLATE = Path(__file__).parent / "assets" / "report.html"
MISTAKES = 20  # wrong answers shown
LONGEST_TEXT = 500  # characters of a message shown
NOTHING = "–"  # a figure that is not defined

COLUMNS = {
    "train": "train",
    "validation": "validation",
    "test": "test",
    "baseline": "baseline, test",
    "natural_prevalence": "at source shares",
}
# The rows of the table of metrics: key, name and number format.
FIGURES = (
    ("rows", "messages", "{:,}"),
    ("accuracy", "accuracy", "{:.2%}"),
    ("precision", "precision", "{:.2%}"),
    ("recall", "recall", "{:.2%}"),
    ("f1", "F1", "{:.4f}"),
    ("mcc", "Matthews correlation", "{:.4f}"),
    ("roc_auc", "area under ROC", "{:.4f}"),
    ("log_loss", "log loss (nats)", "{:.4f}"),
    ("false_positive_rate", "false positive rate", "{:.2%}"),
)
CAPTIONS = {
    "loss": "Loss on the batches that each evaluation while training looked at, or on all where the recipe says so.",
    "accuracy": "Accuracy on the same batches. The figures above are over all messages.",
    "confusion": "What became of the test messages of each label.",
    "precision_recall": "What precision each recall costs, as the threshold moves. The dot is where the"
    " labels lie that were given.",
    "reliability": "How often the most probable label is right, by its probability on test messages, with intervals:"
    " below the line the classifier is too sure.",
}


@dataclass(frozen=True)
class Findings:
    """What the report shows, as plain values.

    about: what was trained, by name, in display order.
    warnings: what the steps warned of, a sentence each.
    counts: messages by label, for the source and for each split.
    straddling: test and validation messages with a near-duplicate in training, of the actual split and of a random
        one: {"made": {"near_duplicates": {"test": 3, ...}, ...}, "plain": ...}.
    given_test: whether the test split was given, and not made of the source file.
    metrics, predictions: what metrics.json and predictions.parquet hold.
    figures: names of the figures, in display order.
    """

    about: Mapping[str, str]
    warnings: Sequence[str]
    counts: Mapping[str, Mapping[str, int]]
    straddling: Mapping[str, Any]
    given_test: bool
    metrics: Mapping[str, Any]
    predictions: pd.DataFrame
    figures: Sequence[str]
    labels: tuple[str, ...]
    positive: str | None


def write_report(file: Path, findings: Findings, figures: Path) -> None:
    """Writes the page to `file`, embedding the PNGs from the folder `figures`."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(
        findings=findings,
        headline=_headline(findings.metrics),
        columns=[title for part, title in COLUMNS.items() if findings.metrics.get(part)],
        rows=_figure_rows(findings.metrics),
        classes=findings.metrics["test"]["classes"],
        straddling=_straddling(findings),
        natural=_natural(findings),
        pictures=[
            {
                "data": base64.b64encode((figures / f"{name}.png").read_bytes()).decode(),
                "caption": CAPTIONS[name],
                "name": name,
            }
            for name in findings.figures
        ],
        mistakes=worst_mistakes(findings.predictions),
        wrong=_wrong(findings.predictions).shape[0],
        percent=lambda share: f"{share:.1%}",
    )
    file.write_text(page, encoding="utf-8")


def worst_mistakes(predictions: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns the most confident wrong answers on the test split: id, text, label, predicted, probability."""
    wrong = _wrong(predictions)
    confidence = pd.Series(
        [row[f"probability_{row['predicted']}"] for row in wrong.to_dict("records")], index=wrong.index, dtype=float
    )
    worst = wrong.assign(probability=confidence).sort_values(["probability", "id"], ascending=[False, True])
    return [
        {
            "id": int(row["id"]),
            "text": row["text"] if len(row["text"]) <= LONGEST_TEXT else f"{row['text'][: LONGEST_TEXT - 1]}…",
            "label": row["label"],
            "predicted": row["predicted"],
            "probability": float(row["probability"]),
        }
        for row in worst.head(MISTAKES).to_dict("records")
    ]


def _wrong(predictions: pd.DataFrame) -> pd.DataFrame:
    return predictions[(predictions["split"] == "test") & (predictions["label"] != predictions["predicted"])]


def _headline(metrics: Mapping[str, Any]) -> str:
    test = metrics["test"]
    right = round(test["accuracy"] * test["rows"])
    interval = test["accuracy_interval"]
    sentence = (
        f"{right:,} of {test['rows']:,} test messages are classified correctly: {test['accuracy']:.1%}"
        f" ({100 * interval['confidence']:g}% confidence interval {interval['low']:.1%} to {interval['high']:.1%})."
    )
    if "baseline" in metrics:
        baseline = metrics["baseline"]["test"]["accuracy"]
        sentence += f" TF-IDF with logistic regression reaches {baseline:.1%} on the same messages."
    return sentence


def _figure_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table of metrics: a name and one cell for each part that was measured."""
    parts = [metrics[part]["test"] if part == "baseline" else metrics[part] for part in COLUMNS if metrics.get(part)]
    rows = []
    for key, name, form in FIGURES:
        if not any(key in part for part in parts):
            continue
        cells = []
        for part in parts:
            cell = {"value": NOTHING if part.get(key) is None else form.format(part[key]), "interval": ""}
            if key == "accuracy":
                interval = part["accuracy_interval"]
                cell["interval"] = f"{interval['low']:.2%} to {interval['high']:.2%}"
            cells.append(cell)
        rows.append({"name": name, "cells": cells})
    return rows


def _straddling(findings: Findings) -> str:
    made, plain = (findings.straddling[which]["near_duplicates"]["test"] for which in ("made", "plain"))
    beside = (
        "the test split was given, so they stay"
        if findings.given_test
        else f"in a plain random split of the same messages: {plain:,}"
    )
    return f"Test messages with a near-duplicate among the training messages: {made:,} ({beside})."


def _natural(findings: Findings) -> str:
    figures, positive = findings.metrics.get("natural_prevalence"), findings.positive
    if not figures:
        return ""
    source = "given test split" if findings.given_test else "source file"
    shares = ", ".join(f"{share:.1%} {label}" for label, share in figures["shares"].items())
    sentence = (
        f"Of messages as they come in the {source} ({shares}) an estimated {figures['accuracy']:.1%} are classified"
        f" correctly. Measured on {figures['rows']:,} messages of which the training saw no near-duplicate, each label"
        f" weighted to its share {'there' if findings.given_test else 'in the source'}."
    )
    if positive is not None:
        sentence += (
            f" Of 1,000 messages, {figures['false_positives_per_1000']:.1f} would wrongly be called {positive}, and"
            f" {figures['false_negatives_per_1000']:.1f} that are {positive} would be missed."
        )
    return sentence
