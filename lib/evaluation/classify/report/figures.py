"""The report's sections about how good the classifier is: figures, comparisons, curves, folds, engines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from lib.evaluation.classify.findings import BASELINE, CLASSIFIER, MAJORITY
from lib.evaluation.classify.model_card import short
from lib.evaluation.classify.report.charts import Axis, Chart, Curve, Interval, Mark, intervals
from lib.evaluation.classify.report.facts import ReportFacts
from lib.evaluation.classify.report.parts import (
    NOTHING,
    Cell,
    Part,
    Picture,
    Pictures,
    Section,
    Table,
    Text,
    bounds,
    cells,
    p_value,
    percent,
    range_of,
)
from lib.evaluation.classify.verdict import relation

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
NAMES = {CLASSIFIER: "this classifier", BASELINE: "TF-IDF", MAJORITY: "the most frequent label"}
IN_WORDS = {"better": "better beyond noise", "level": "no difference beyond noise", "worse": "worse beyond noise"}
FAR = 0.25  # below the classifier, where drawing another accuracy would hide how near the others are


def overview(facts: ReportFacts) -> Markup:
    """Draws the accuracy and its interval above those of what is simpler, on the test split."""
    found = [(NAMES[CLASSIFIER], facts.test, 1)]
    found += [(NAMES[name], facts.metrics[name]["test"], 2) for name in (BASELINE, MAJORITY) if facts.metrics.get(name)]
    rows = []
    for name, part, colour in found:
        if part["accuracy"] < facts.test["accuracy"] - FAR:
            continue
        interval = part["accuracy_interval"]
        rows.append(Interval(name, part["accuracy"], interval["low"], interval["high"], colour))
    told = ", ".join(f"{row.name} {row.value:.2%} ({range_of(row.low, row.high)})" for row in rows)
    return intervals(rows, f"Accuracy on the test split with its interval: {told}")


def figures(facts: ReportFacts) -> Section:
    """The metrics of every part that was measured."""
    metrics, findings = facts.metrics, facts.findings
    columns: dict[str, Mapping[str, Any] | None] = {
        "test": facts.test,
        "TF-IDF, test": (metrics.get(BASELINE) or {}).get("test"),
        "most frequent label, test": (metrics.get(MAJORITY) or {}).get("test"),
        "test without copies": metrics.get("test_without_copies"),
        f"at the {'test split' if findings.given_test else 'source'}'s shares": metrics.get("natural_prevalence"),
        "validation": metrics.get("validation"),
        "train": metrics.get("train"),
    }
    measured = {name: part for name, part in columns.items() if part}
    rows = [
        [Cell(name), *(_figure(part, key, form) for part in measured.values())]
        for key, name, form in FIGURES
        if any(key in part for part in measured.values())
    ]
    about = (
        f"Precision, recall and F1 are about the label {short(findings.positive)}."
        if findings.positive is not None
        else "Precision, recall and F1 are means over the labels, each label counting the same."
    )
    level = f"{100 * findings.confidence:g}%"
    return Section(
        "figures",
        "Figures",
        [
            Table("Metrics of each split", ["", *measured], rows, main=1),
            Text(
                f"{about} Below a figure stands its {level} interval: by Wilson's formula for accuracies, by 2,000"
                " bootstrap draws within each label for the others. Go by the test split, which neither the training"
                " nor any choice has seen.",
                note=True,
            ),
        ],
    )


def _figure(part: Mapping[str, Any], key: str, form: str) -> Cell:
    value = part.get(key)
    interval = part["accuracy_interval"] if key == "accuracy" else _bounds(part, key)
    small = bounds(form.format(interval["low"]), form.format(interval["high"])) if interval else ""
    return Cell(NOTHING if value is None else form.format(value), small)


def _bounds(part: Mapping[str, Any], key: str) -> dict[str, float] | None:
    low, high = part.get(f"{key}_low"), part.get(f"{key}_high")
    return None if low is None or high is None else {"low": low, "high": high}


def comparisons(facts: ReportFacts) -> Section:
    """The paired tests, and what the registry decided."""
    rows = []
    for test in facts.findings.comparisons:
        rows.append(
            cells(
                f"{NAMES[test.first]} and {NAMES[test.second]}",
                f"{test.wins:,}",
                f"{test.losses:,}",
                p_value(test.p_value),
                p_value(test.adjusted),
                IN_WORDS[relation(test.difference, test.adjusted)],
            )
        )
    parts: list[Part] = []
    challenge = facts.challenge
    if challenge is not None and (fought := challenge.rival) is not None:
        rows.append(
            cells(
                f"this classifier and {fought.name}, the champion (frozen test set, {challenge.messages:,} messages)",
                f"{fought.wins:,}",
                f"{fought.losses:,}",
                p_value(fought.p_value),
                NOTHING,
                IN_WORDS[fought.relation],
            )
        )
    if rows:
        columns = [
            "the first and the second",
            "only the first is right",
            "only the second",
            "p",
            "p, corrected",
            "the first is",
        ]
        parts += [
            Table("Paired comparisons", columns, rows, words=frozenset({5})),
            Text(
                "p is that of McNemar's exact test: how often a difference this large happens by chance between two"
                " equally good classifiers. It is corrected (Holm) for the comparisons on the test split being made"
                " together; one with the champion decides alone, on messages of its own. Noise is what p does not put"
                " below 5%, or below the recipe's registry.significance.",
                note=True,
            ),
        ]
    if facts.findings.baseline is not None:
        parts.append(Text(f"The baseline: {facts.findings.baseline.about}."))
    if facts.why:
        parts.append(Text(f"The registry's decision: {facts.why}."))
    return Section("comparisons", "Compared with", parts)


def curves(facts: ReportFacts) -> Section:
    """Loss and accuracy while training."""
    history = facts.history
    drawn = [
        _curve(history, "loss", "cross-entropy (nats)"),
        _curve(history, "accuracy", "messages classified rightly"),
    ]
    pictures = [picture for picture in drawn if picture is not None]
    return Section("curves", "Training", [Pictures(pictures)] if pictures else [])


def _curve(history: Mapping[str, Sequence[float]], measure: str, unit: str) -> Picture | None:
    lines = []
    for colour, split in enumerate(("train", "validation"), 1):
        values = zip(history["epoch"], history.get(f"{split}_{measure}", ()), strict=False)
        points = [(x, y) for x, y in values if y is not None and not math.isnan(y)]
        if points:
            lines.append(Curve(split, points, colour, dots=len(points) <= 12))
    if not lines:
        return None
    every = [y for line in lines for _, y in line.points]
    shares = measure == "accuracy"
    low = max(0.0, min(every) - 0.05) if shares else 0.0
    high = 1.0 if shares else 1.05 * max(every) or 1.0
    best = (min if measure == "loss" else max)(lines[-1].points, key=lambda point: point[1])
    value = f"{best[1]:.1%}" if shares else f"{best[1]:.3f}"
    note = f"{lines[-1].name}: {'highest' if shares else 'lowest'} {value}"
    last = max(point[0] for line in lines for point in line.points)
    chart = Chart(
        described=f"{measure.capitalize()} over {last:g} epochs; {note} at epoch {best[0]:.2f}",
        x=Axis("epochs", 0, last or 1),
        y=Axis(unit, low if low < high else high - 0.1, high, percent=shares),
        curves=lines,
        marks=[Mark(*best, note, colour=len(lines))],
    )
    on = "on the messages that each evaluation while training looked at, or on all where the recipe says so"
    return Picture(chart.draw(), f"{measure.capitalize()} {on}.")


def folds(facts: ReportFacts) -> Iterator[Section]:
    """The accuracies of a cross-validation, if there was one."""
    spread = facts.findings.folds
    if spread is None:
        return
    accuracies = [percent(each) for each in spread.accuracies]
    columns = ["fold", *(f"{number}" for number in range(1, len(accuracies) + 1))]
    yield Section(
        "folds",
        f"{len(accuracies)} folds",
        [
            Text(
                "What other splits of the same messages would have said: trained with each fold left out in turn, the"
                f" classifier is right on {spread.mean:.2%} of the fold on average, with a standard deviation of"
                f" {100 * spread.deviation:.2f} points between folds."
            ),
            Table("Accuracy of each fold", columns, [cells("accuracy", *accuracies)]),
        ],
    )


def engines(facts: ReportFacts) -> Section:
    """What the classifier could be served with."""
    parts: list[Part] = []
    if facts.engines:
        columns = list(dict.fromkeys(name for row in facts.engines for name in row))
        rows = [[Cell(row.get(name) or NOTHING) for name in columns] for row in facts.engines]
        parts.append(Table("Candidates to serve with", columns, rows, words=frozenset({len(columns) - 1})))
        parts.append(
            Text(
                "Each was measured on the validation split and on the machine of the run; all figures above are of the"
                " one that was chosen.",
                note=True,
            )
        )
    return Section("engine", "Served with", parts)
