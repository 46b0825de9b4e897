"""The report's sections about what its figures are worth: the data, copies, weak parts, mistakes, and labels
that look wrong."""

from __future__ import annotations

from lib.evaluation.classify.cautions import part_in_words
from lib.evaluation.classify.findings import Findings
from lib.evaluation.classify.label_check import MOST_LISTED
from lib.evaluation.classify.mistakes import MOST_COMPARED
from lib.evaluation.classify.model_card import short
from lib.evaluation.classify.report.facts import Message, ReportFacts
from lib.evaluation.classify.report.parts import (
    Cell,
    Part,
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
from lib.evaluation.classify.verdict import relation

SHOWN_LABELS = 20  # rows of the table of counts, the most frequent first
MOST_SHOWN = 20  # mistakes, and suspects
# How a part of the messages stands to the others.
BESIDE = {"better": "better beyond noise", "level": "no different beyond noise", "worse": "worse beyond noise"}


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
    nearly = (
        "the texts are equal but for"
        if findings.near_by_keys
        else "the texts' sets of four characters in a row have a cosine of at least 0.8, whatever"
    )
    return (
        f"Nearly: {nearly} case, digits and punctuation. But for these, {made:,} test messages are equal to a training"
        f" message ({beside})."
    )


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
            Cell(BESIDE[relation(each.accuracy - each.accuracy_of_rest, each.p_value)]),
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
    learned = sum(facts.findings.counts["train"].values())
    sample = f" (of a sample of {MOST_COMPARED:,})" if learned > MOST_COMPARED else ""
    return Section(
        "mistakes",
        "The most confident mistakes",
        [
            Text(
                f"{len(quotes):,} of the {wrong:,} wrong answers on the test split, the most confident first, each with"
                f" the training messages that are most like it{sample}: the fault may be the classifier's,"
                " the label's, or that of what it learned from. All answers are in predictions/.",
                note=True,
            ),
            Quotes(quotes),
        ],
    )


def _alike(message: Message, cosine: float) -> Quote:
    return Quote(message.text, (f"learned as {short(message.label)}", f"likeness {cosine:.2f}", f"row {message.id:,}"))


def suspects(facts: ReportFacts) -> Section:
    """Messages whose label is probably wrong."""
    check = facts.findings.label_check
    if check is None or not check.first:
        return Section("suspects", "Labels to look at")
    quotes = [
        Quote(
            each.text,
            (
                f"labelled {short(each.label)}",
                f"looks like {short(each.suggested)}",
                f"{each.split}, {each.file}, {f'row {each.row:,}' if each.line is None else f'line {each.line:,}'}",
            ),
        )
        for each in check.first[:MOST_SHOWN]
    ]
    kept = "all" if check.rows <= MOST_LISTED else f"the first {MOST_LISTED:,}"
    return Section(
        "suspects",
        "Labels to look at",
        [
            Text(
                f"{check.by[:1].upper()}{check.by[1:]}, without having learned from the message, agrees with"
                f" {check.accuracy:.1%} of {check.rows:,} labels, and confident learning counts {check.counted:,} as"
                f" probably wrong. These are the {len(quotes):,} most suspicious ones; suspects.parquet has {kept}.",
                note=True,
            ),
            Quotes(quotes),
        ],
    )
