"""Writes a registered classifier's model card in Markdown, from plain values of its run.

Follows M. Mitchell et al., "Model cards for model reporting", FAT* 2019, as far as a run knows the answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.markdown import bullets, code, plain, table

LONGEST = 5000  # characters of a version's description that MLflow's tables hold
SHOWN_LABELS = 20  # rows of the table of labels, the most frequent first
LONGEST_LABEL = 40  # characters of a label shown
FIGURES = ("precision", "recall", "f1", "mcc", "roc_auc", "false_positive_rate")


@dataclass(frozen=True)
class CardFacts:
    """What a run knows of its classifier.

    verdict: what the run comes to; it comes first, because lists of versions show only the beginning.
    name: the registered name.
    about: what was trained and how: names and values, in display order.
    source: rows of the source file by label. splits: rows of `train`, `validation` and `test` by label.
    held_out: messages taken out of train and validation because they are in the frozen test set.
    metrics: those of the evaluation (see `lib.evaluation.classify.evaluate`).
    given_test: whether the test split was given, and not made of the source.
    positive: of two labels, the one that precision and recall are about.
    reads: what is read of a text, in words.
    warnings: what the steps warned of, a sentence each.
    """

    verdict: str
    name: str
    about: Mapping[str, str]
    source: Mapping[str, int]
    splits: Mapping[str, Mapping[str, int]]
    held_out: int
    metrics: Mapping[str, Any]
    given_test: bool
    positive: str | None
    reads: str
    warnings: Sequence[str] = ()


def classifier_card(facts: CardFacts) -> str:
    """Returns the card, cut after a line to at most LONGEST characters."""
    sections = [
        [plain(facts.verdict)],
        ["## What it is", "", *_rows(facts.about)],
        ["## Data", "", *_data(facts)],
        *([["## Warnings", "", bullets(facts.warnings)]] if facts.warnings else []),
        ["## Figures", "", *_figures(facts)],
        ["## Limits", "", *_limits(facts)],
        ["## Use", "", *_use(facts.name)],
    ]
    page = "\n\n".join("\n".join(lines) for lines in sections) + "\n"
    return page if len(page) <= LONGEST else page[: page.rindex("\n", 0, LONGEST) + 1]


def _rows(values: Mapping[str, str]) -> list[str]:
    return table(("", ""), ((plain(name), plain(value)) for name, value in values.items()))


def _data(facts: CardFacts) -> list[str]:
    columns = ("source", *facts.splits)
    counts = {"source": facts.source, **facts.splits}
    labels = sorted(facts.source, key=lambda label: (-facts.source[label], label))
    rows = [
        [plain(short(label)), *(f"{counts[column].get(label, 0):,}" for column in columns)]
        for label in labels[:SHOWN_LABELS]
    ]
    if len(labels) > SHOWN_LABELS:
        rows.append([f"{len(labels) - SHOWN_LABELS} more", *("" for _ in columns)])
    return [
        *table(("label", *columns), rows, numbers=True),
        "",
        f"The versions of `{facts.name}` are compared on a frozen test set, which belongs to the name: the test split"
        " of the first run under it. No version learns from its messages"
        + (f"; {facts.held_out:,} were left out of train and validation here." if facts.held_out else "."),
    ]


def _figures(facts: CardFacts) -> list[str]:
    test, baseline = facts.metrics["test"], facts.metrics.get("baseline", {}).get("test")
    natural = facts.metrics.get("natural_prevalence")
    columns = {"test split": test}
    if baseline:
        columns["TF-IDF baseline"] = baseline
    if natural:
        columns[f"at the {'test split' if facts.given_test else 'source'}'s shares"] = natural
    about = f"about {code(short(facts.positive))}" if facts.positive else "means over the labels"
    rows = [["accuracy", *map(_accuracy, columns.values())]]
    for name in FIGURES:
        if any(figures.get(name) is not None for figures in columns.values()):
            rows.append([name.replace("_", " "), *(_number(figures.get(name)) for figures in columns.values())])
    return [
        f"On {test['rows']:,} test messages; precision, recall and F1 are {about}.",
        "",
        *table(("", *columns), rows, numbers=True),
    ]


def _limits(facts: CardFacts) -> list[str]:
    test = facts.metrics["test"]
    interval = test["accuracy_interval"]
    count, rarest = min((count, label) for label, count in facts.splits["test"].items())
    lines = [
        f"- {test['rows']:,} test messages tell the accuracy on such messages no better than {interval['low']:.2%} to"
        f" {interval['high']:.2%} (with {interval['confidence']:.0%} confidence).",
        f"- The rarest label of the test split, {code(short(rarest))}, has {count:,} messages there.",
        f"- It reads {facts.reads}.",
        "- It knows texts like those of its source, and gives one of its labels to any text, also to one of another"
        " kind or language.",
    ]
    baseline = facts.metrics.get("baseline", {}).get("test")
    if baseline and baseline["accuracy"] >= test["accuracy"]:
        lines.append("- The TF-IDF baseline, which takes a second to fit, is not worse on these messages.")
    return lines


def _use(name: str) -> list[str]:
    return [
        "```python",
        "import mlflow",
        "",
        f'classifier = mlflow.pyfunc.load_model("models:/{name}@champion")  # or models:/{name}/VERSION',
        'classifier.predict(["a text", "another one"])',
        "```",
    ]


def _accuracy(figures: Mapping[str, Any]) -> str:
    interval = figures["accuracy_interval"]
    return f"{figures['accuracy']:.2%} ({interval['low']:.2%} to {interval['high']:.2%})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def short(label: str) -> str:
    """Returns the label, or as much of it as a page shows."""
    return label if len(label) <= LONGEST_LABEL else f"{label[:LONGEST_LABEL]}…"
