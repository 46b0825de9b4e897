"""The report's sections about probabilities: threshold, calibration, and what they give at natural class shares."""

from __future__ import annotations

from lib.evaluation.classify.calibration import Calibration
from lib.evaluation.classify.findings import Findings
from lib.evaluation.classify.model_card import short
from lib.evaluation.classify.report.charts import Axis, Chart, Curve, Mark
from lib.evaluation.classify.report.facts import ReportFacts
from lib.evaluation.classify.report.parts import (
    Facts,
    Part,
    Picture,
    Pictures,
    Section,
    Table,
    Text,
    cells,
    percent,
    range_of,
)
from lib.model.labels import MOST_PROBABLE

SHOWN_SHARES = 20  # labels whose natural share is named


def threshold(facts: ReportFacts) -> Section:
    """From which probability on the positive label is given, and whether probabilities mean what they say."""
    findings, decision = facts.findings, facts.findings.decision
    parts: list[Part] = []
    if findings.positive is not None:
        parts.append(Text(_rule(findings)))
    chosen = decision.chosen
    if chosen is not None:
        low, high = chosen.false_positive_interval
        parts.append(
            Facts(
                [
                    ("validation messages", f"{chosen.rows:,}"),
                    ("precision", percent(chosen.precision)),
                    ("recall", percent(chosen.recall)),
                    ("F1", f"{chosen.f1:.4f}"),
                    ("false positive rate", f"{chosen.false_positive_rate:.2%} ({range_of(low, high)})"),
                ]
            )
        )
    scaling = decision.scaling
    if scaling is not None:
        how = "less sure" if scaling.temperature > 1 else "surer"
        parts.append(
            Text(
                f"Probabilities are made {how}: the network's logits are divided by a temperature of"
                f" {scaling.temperature:.3g}, fitted on validation, which changes no label of the most probable ones."
            )
        )
    remedy = findings.remedy
    if remedy is not None:
        parts.append(
            Text(
                f"With evaluation.calibrate a temperature of {remedy.scaling.temperature:.3g} would divide the logits,"
                f" and the calibration error be {remedy.calibration.error:.2%} instead of"
                f" {findings.calibration.error:.2%}.",
                note=True,
            )
        )
    drawn = [
        _reliability(found, name)
        for name, found in (("before the temperature", findings.uncalibrated), ("as answered", findings.calibration))
        if found is not None
    ]
    parts += [Pictures(drawn), _errors(findings)]
    parts.append(
        Text(
            "The calibration error is how far probability and share of right labels are apart on average, here of the"
            " most probable label. Finite test sets always show some: by chance alone a perfectly calibrated classifier"
            " exceeds the second figure once in twenty times.",
            note=True,
        )
    )
    return Section("probabilities", "Threshold and probabilities", parts)


def _rule(findings: Findings) -> str:
    positive, decision = short(findings.positive or ""), findings.decision
    if decision.goal is not None:
        return (
            f"{positive} is given from a probability of {decision.threshold:.4g} on, which was chosen on validation for"
            f" {decision.goal.in_words}. On those messages it gives, a little too favourably:"
        )
    if decision.threshold == MOST_PROBABLE:
        return "The more probable of the two labels is given (a threshold of 0.5)."
    return f"{positive} is given from a probability of {decision.threshold:g} on, as the recipe says."


def _reliability(found: Calibration, name: str) -> Picture:
    points = [(each.confidence, each.accuracy) for each in found.bins]
    low = max(0.0, min([*(x for x, _ in points), *(y for _, y in points)]) - 0.05)
    chart = Chart(
        described=f"Reliability, {name}: " + ", ".join(f"{x:.0%} sure, {y:.0%} right" for x, y in points),
        x=Axis("probability of the label given", low, 1, percent=True),
        y=Axis("labels that are right", low, 1, percent=True),
        curves=[
            Curve("perfect", [(low, low), (1, 1)], 3, dashed=True),
            Curve(name, points, 1, dots=True),
        ],
        bars=[(each.confidence, max(low, each.interval[0]), each.interval[1]) for each in found.bins],
    )
    return Picture(chart.draw(), f"How often the classifier is right where it is so sure, {name}, with intervals.")


def _errors(findings: Findings) -> Table:
    columns: dict[str, Calibration] = {}
    if findings.uncalibrated is not None:
        columns["before the temperature"] = findings.uncalibrated
    columns["as answered"] = findings.calibration
    rows = [
        cells("calibration error", *(percent(each.error) for each in columns.values())),
        cells("by chance at most", *(percent(each.by_chance) for each in columns.values())),
        cells("log loss (nats)", *(f"{each.log_loss:.4f}" for each in columns.values())),
    ]
    return Table("Calibration on the test split", ["", *columns], rows)


def prevalence(facts: ReportFacts) -> Section:
    """The figures at the class shares that messages come with."""
    natural, findings = facts.metrics.get("natural_prevalence"), facts.findings
    if not natural:
        return Section("prevalence", "As messages come")
    source = "given test split" if findings.given_test else "source"
    shares = ", ".join(f"{short(label)} {share:.1%}" for label, share in list(natural["shares"].items())[:SHOWN_SHARES])
    parts: list[Part] = [
        Text(
            f"Of messages as they come in the {source} an estimated {natural['accuracy']:.1%} get the right label"
            f" ({range_of(natural['accuracy_interval']['low'], natural['accuracy_interval']['high'])}). Measured on"
            f" {natural['rows']:,} messages of which the training saw no near-duplicate, each label weighted to its"
            f" share: {shares}."
        )
    ]
    if findings.positive is not None:
        positive = short(findings.positive)
        parts.append(
            Text(
                f"Of 1,000 messages {natural['false_positives_per_1000']:.1f} would wrongly be called {positive}, and"
                f" {natural['false_negatives_per_1000']:.1f} that are {positive} would be missed."
            )
        )
    curve = findings.prevalence
    if curve is not None:
        chart = Chart(
            described=f"Precision and recall at the natural class shares; average precision"
            f" {curve.average_precision:.3f}",
            x=Axis("recall", 0, 1, percent=True),
            y=Axis("precision", 0, 1, percent=True),
            curves=[
                Curve("this classifier", list(zip(curve.recall, curve.precision, strict=True))[::-1], 1, stepped=True),
                Curve("all called so", [(0, curve.prevalence), (1, curve.prevalence)], 3, dashed=True),
            ],
            marks=[Mark(natural["recall"], natural["precision"], "the threshold in use")],
        )
        caption = (
            f"What precision each recall of {short(findings.positive or '')} costs as the threshold moves, at the"
            f" natural class shares. Average precision: {curve.average_precision:.3f}."
        )
        parts.append(Pictures([Picture(chart.draw(), caption)]))
    return Section("prevalence", "As messages come", parts)
