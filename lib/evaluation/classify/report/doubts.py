"""The report's sections about what its figures are worth: the data, copies, probabilities, class shares, weak parts,
mistakes, and labels that look wrong."""

from __future__ import annotations

from lib.evaluation.classify.calibration import Calibration
from lib.evaluation.classify.cautions import part_in_words
from lib.evaluation.classify.findings import Findings
from lib.evaluation.classify.model_card import short
from lib.evaluation.classify.report.charts import Axis, Chart, Curve, Mark
from lib.evaluation.classify.report.facts import Message, ReportFacts
from lib.evaluation.classify.report.parts import (
    Cell,
    Facts,
    Part,
    Picture,
    Pictures,
    Points,
    Quote,
    Quotes,
    Section,
    Table,
    Text,
    bounds,
    cells,
    p_value,
    percent,
    range_of,
)
from lib.evaluation.classify.verdict import SIGNIFICANCE
from lib.model.labels import MOST_PROBABLE

SHOWN_LABELS = 20  # rows of the table of counts, the most frequent first
MOST_SHOWN = 20  # mistakes, and suspects


def data(facts: ReportFacts) -> Section:
    """Counts, what is left out, warnings, and copies between splits."""
    parts: list[Part] = []
    if facts.warnings:
        parts.append(Points(facts.warnings))
    parts.append(_counts(facts.findings))
    left = sum(facts.left_out.values())
    if left:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in facts.left_out.items())
        parts.append(Text(f"{left:,} rows of the source are left out: {reasons}. left_out.parquet names each."))
    return Section("data", "Data", parts)


def _counts(findings: Findings) -> Table:
    counts = findings.counts
    order = sorted(findings.labels, key=lambda label: (-counts["source"].get(label, 0), label))
    rows = [
        cells(short(label), *(f"{part.get(label, 0):,}" for part in counts.values())) for label in order[:SHOWN_LABELS]
    ]
    rest = order[SHOWN_LABELS:]
    if rest:
        totals = (sum(part.get(label, 0) for label in rest) for part in counts.values())
        rows.append(cells(f"{len(rest):,} more labels", *(f"{total:,}" for total in totals)))
    rows.append(cells("all", *(f"{sum(part.values()):,}" for part in counts.values())))
    return Table("Messages by label", ["label", *counts], rows)


def leakage(facts: ReportFacts) -> Section:
    """Messages of a split that another one has too, and the accuracy without them."""
    found = [leak for leak in facts.findings.leaks if leak.copies]
    parts: list[Part] = []
    if found:
        rows = [
            cells(leak.split, leak.source, f"{leak.exact:,}", f"{len(leak.copies) - leak.exact:,}") for leak in found
        ]
        columns = ["messages of", "that are also in", "exactly", "nearly"]
        parts.append(Table("Copies between splits", columns, rows, words=frozenset({1})))
        rest = facts.metrics.get("test_without_copies")
        if rest:
            parts.append(
                Text(
                    f"Without them the accuracy on the test split is {rest['accuracy']:.2%}"
                    f" ({range_of(rest['accuracy_interval']['low'], rest['accuracy_interval']['high'])}), on"
                    f" {rest['rows']:,} messages, and with them {facts.test['accuracy']:.2%}."
                )
            )
    else:
        parts.append(Text("No message of the test split is a copy of a training message, nor nearly one."))
    parts.append(Text(_straddling(facts.findings), note=True))
    return Section("copies", "Copies", parts)


def _straddling(findings: Findings) -> str:
    made, plain = (findings.straddling[which]["near_duplicates"]["test"] for which in ("made", "plain"))
    beside = (
        "the test split was given, so they stay"
        if findings.given_test
        else f"in a plain random split of the same messages {plain:,}"
    )
    return (
        "Nearly: the texts' sets of four characters in a row have a cosine of at least 0.8, whatever case, digits and"
        f" punctuation. But for these, {made:,} test messages are equal to a training message ({beside})."
    )


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
    shares = ", ".join(f"{short(label)} {share:.1%}" for label, share in list(natural["shares"].items())[:SHOWN_LABELS])
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


def slices(facts: ReportFacts) -> Section:
    """Parts of the test split, the weakest first."""
    ordered = sorted(facts.findings.slices, key=lambda each: (each.accuracy, -each.rows))
    rows = [
        [
            Cell(f"messages {part_in_words(each)}"),
            Cell(f"{each.rows:,}"),
            Cell(percent(each.accuracy), bounds(*map(percent, each.interval))),
            Cell(percent(each.accuracy_of_rest)),
            Cell(p_value(each.p_value)),
            Cell(_beside(each.accuracy, each.accuracy_of_rest, each.p_value)),
        ]
        for each in ordered
    ]
    if not rows:
        return Section("parts", "Parts of the test split")
    columns = ["part", "messages", "accuracy", "accuracy of the others", "p, corrected", "it is"]
    return Section(
        "parts",
        "Parts of the test split",
        [
            Table("Accuracy of parts", columns, rows, words=frozenset({5})),
            Text(
                "p is that of Fisher's exact test, corrected (Holm) for all parts: of twenty parts one looks different"
                " by chance alone.",
                note=True,
            ),
        ],
    )


def _beside(accuracy: float, rest: float, p: float) -> str:
    if p > SIGNIFICANCE:
        return "no different beyond noise"
    return "worse beyond noise" if accuracy < rest else "better beyond noise"


def mistakes(facts: ReportFacts) -> Section:
    """The most confident wrong answers, each with the training messages that are most like it."""
    labels, wrong = facts.findings.labels, facts.test["rows"] - round(facts.test["accuracy"] * facts.test["rows"])
    if not wrong:
        return Section("mistakes", "Mistakes", [Text("No test message was classified wrongly.")])
    quotes = []
    for each in facts.findings.mistakes[:MOST_SHOWN]:
        message = facts.messages["test", each.row]
        about = (
            f"labelled {short(labels[each.target])}",
            f"called {short(labels[each.given])} with {each.probability:.1%}",
            f"row {message.id:,}",
        )
        alike = [_alike(facts.messages["train", near.row], near.cosine) for near in each.neighbours]
        quotes.append(Quote(message.text, about, alike))
    return Section(
        "mistakes",
        "The most confident mistakes",
        [
            Text(
                f"{len(quotes):,} of the {wrong:,} wrong answers on the test split, the most confident first, each with"
                " the training messages that are most like it: the fault may be the classifier's, the label's, or that"
                " of what it learned from. All answers are in predictions.parquet.",
                note=True,
            ),
            Quotes(quotes),
        ],
    )


def _alike(message: Message, cosine: float) -> Quote:
    return Quote(message.text, (f"learned as {short(message.label)}", f"likeness {cosine:.2f}", f"row {message.id:,}"))


def suspects(facts: ReportFacts) -> Section:
    """Messages whose label is probably wrong."""
    if not facts.suspects:
        return Section("suspects", "Labels to look at")
    shown = facts.suspects[:MOST_SHOWN]
    quotes = [
        Quote(
            each.message.text,
            (
                f"labelled {short(each.message.label)}",
                f"looks like {short(each.suggested)}",
                f"{each.split}, row {each.message.id:,}",
            ),
        )
        for each in shown
    ]
    return Section(
        "suspects",
        "Labels to look at",
        [
            Text(
                f"{len(quotes):,} of the {facts.all_suspects:,} messages whose label is probably wrong, as classifiers"
                " say that were fitted on the other messages; the most suspicious first. All are in suspects.parquet.",
                note=True,
            ),
            Quotes(quotes),
        ],
    )
