"""The report's section about labels: which of them the classifier knows, and which it takes for which."""

from __future__ import annotations

from lib.evaluation.classify.classes import LabelRow
from lib.evaluation.classify.model_card import short
from lib.evaluation.classify.report.charts import heat_map
from lib.evaluation.classify.report.facts import ReportFacts
from lib.evaluation.classify.report.parts import (
    NOTHING,
    Cell,
    Part,
    Picture,
    Pictures,
    Points,
    Section,
    Table,
    Text,
    bounds,
    percent,
)

MOST_CELLS = 12  # labels up to which a confusion matrix is a table; of more it is a picture
NAMED = 3  # confusions beside a label


def labels(facts: ReportFacts) -> Section:
    """The confusion matrix, the confusions that matter and a table of the labels."""
    findings, table = facts.findings, facts.findings.classes
    parts: list[Part] = [_confusion(facts)]
    if table.confusions and len(findings.labels) > MOST_CELLS:
        parts.append(
            Points(
                [
                    f"{each.rows:,} of {short(each.label)} were called {short(each.predicted)} ({each.share:.1%})"
                    for each in table.confusions
                ]
            )
        )
    rows = [_label_row(row) for row in table.rows]
    columns = ["label", "test messages", "precision", "recall", "F1", "called instead"]
    parts.append(Table("Metrics of each label", columns, rows, words=frozenset({5})))
    more = f" {table.left_out:,} labels with a higher F1 are left out." if table.left_out else ""
    parts.append(
        Text(
            "Precision: of the messages that got the label, how many have it. Recall: of those that have it, how many"
            f" got it. The lowest F1, which joins both, comes first.{more}",
            note=True,
        )
    )
    return Section("labels", "Labels", parts)


def _label_row(row: LabelRow) -> list[Cell]:
    instead = ", ".join(f"{short(each.predicted)} {each.rows:,}" for each in row.confusions[:NAMED])
    return [
        Cell(short(row.label)),
        Cell(f"{row.rows:,}"),
        _share(row.precision, row.precision_interval),
        _share(row.recall, row.recall_interval),
        Cell(f"{row.f1:.4f}"),
        Cell(instead or NOTHING),
    ]


def _share(share: float, interval: tuple[float, float] | None) -> Cell:
    return Cell(percent(share), bounds(*map(percent, interval))) if interval else Cell(NOTHING)


def _confusion(facts: ReportFacts) -> Part:
    names, confusion = [short(label) for label in facts.findings.labels], facts.test["confusion"]
    if len(names) > MOST_CELLS:
        told = f"Confusion matrix of {len(names)} labels, true labels downwards and predicted ones across"
        return Pictures(
            [
                Picture(
                    heat_map(confusion, names, told),
                    "What became of the test messages of each label: a row is a true label, a column a predicted one,"
                    " in alphabetical order or that of data.labels. The darker, the larger the share of the row; what"
                    " lies beside the diagonal is wrong. The largest confusions are listed below.",
                )
            ]
        )
    rows = [
        [Cell(name), *(Cell(f"{count:,}", shade=count / max(1, sum(counts))) for count in counts)]
        for name, counts in zip(names, confusion, strict=True)
    ]
    return Table("Confusion matrix of the test split", ["true label, called", *names], rows)
