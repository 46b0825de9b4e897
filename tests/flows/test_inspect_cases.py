"""`finetune inspect` on files that people really have, of ../shared/cases: what it finds, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flows.inspect import main
from tests.support.cases import case

BILLING = {"billing": 80, "delivery": 80, "technical": 80}
REVIEWS = {"negative": 60, "positive": 60}

FOUND: list[tuple[str, str, dict[str, Any]]] = [
    ("01-kaggle-latin1", "spam.csv", {"text_column": "v2", "label_column": "v1", "labels": {"ham": 160, "spam": 80}}),
    ("02-semicolon", "tickets.csv", {"separator": ";", "labels": BILLING}),
    ("03-utf16", "reviews.txt", {"separator": "\t", "labels": REVIEWS}),
    ("03-utf16", "reviews-nobom.txt", {"labels": REVIEWS}),
    ("04-bom-quoted-header", "spaces.csv", {"text_column": "text ", "label_column": " label", "labels": BILLING}),
    ("05-newlines-in-fields", "mails.csv", {"rows": 200, "labels": {"billing": 100, "technical": 100}}),
    ("06-stray-quotes-tsv", "sms.tsv", {"header": False, "quoting": "none", "labels": {"ham": 120, "spam": 80}}),
    ("08-nul-and-control", "export.csv", {"rows": 160, "labels": {"billing": 80, "delivery": 80}}),
    ("09-na-null-none", "regions.csv", {"labels": dict.fromkeys(("N/A", "NA", "None", "nan", "null"), 60)}),
    ("11-pandas-headers", "unnamed.csv", {"rows": 140, "text_column": 0, "label_column": 1}),
    ("11-pandas-headers", "index.csv", {"rows": 140, "text_column": "text", "label_column": "label"}),
    ("12-agnews-style", "train.csv", {"header": False, "label_column": 0, "text_column": 2}),
    ("15-excel-workbook", "tickets.csv", {"format": "excel", "labels": {"billing": 60, "technical": 60}}),
    ("17-other-compressions", "r.csv.zst", {"compression": "zstd", "labels": REVIEWS}),
    ("17-other-compressions", "r.tar.bz2", {"labels": REVIEWS}),
    ("19-json-shapes", "array-pretty.json", {"layout": "list", "labels": BILLING}),
    ("19-json-shapes", "concatenated.jsonl", {"layout": "objects", "labels": BILLING}),
    ("20-jsonl-mixed-types", "mixed.jsonl", {"labels": {"0": 75, "1": 75}}),
    ("20-jsonl-mixed-types", "holes.jsonl", {"rows": 150, "empty_texts": 5, "empty_labels": 4}),
    ("21-jsonl-nested-multilabel", "multi.jsonl", {"kind": "texts", "label_column": None, "command": None}),
    ("23-parquet-kinds", "dictionary.parquet", {"labels": BILLING}),
    ("25-parquet-classlabel", "train-00000-of-00001.parquet", {"labels": {"negative": 80, "positive": 80}}),
    ("26-parquet-folder", "export.parquet", {"files": 3, "rows": 240, "labels": BILLING}),
    ("33-duplicates-conflicts", "dups.csv", {"rows": 310, "duplicate_texts": 110, "contradicting_texts": 20}),
    ("35-holes", "no-labels.csv", {"kind": "texts", "command": None}),
    ("35-holes", "unlabelled.csv", {"rows": 140, "empty_labels": 70}),
    ("36-chat-formats", "sharegpt.json", {"kind": "instructions", "rows": 120, "shape": "ShareGPT conversations"}),
    ("36-chat-formats", "multiturn.jsonl", {"kind": "instructions", "rows": 60, "conversations": 60}),
    ("36-chat-formats", "dolly.jsonl", {"shape": "Dolly instructions", "nothing_to_learn": 0}),
    ("36-chat-formats", "pairs.csv", {"shape": "Alpaca instructions", "rows": 120}),
]  # fmt: skip


@pytest.mark.parametrize(("folder", "file", "expected"), FOUND, ids=[f"{folder}/{file}" for folder, file, _ in FOUND])
def test_what_is_found(folder: str, file: str, expected: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(case(folder, file)), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: found.get(name) for name in expected} == expected


SAID = [
    ("01-kaggle-latin1", "spam.csv", ["cp1252 (detected, with confidence 0.9)", "20 rows have something in a column"]),
    ("08-nul-and-control", "export.csv", ["48 texts have control characters", r"'Tax\x00 line odd"]),
    ("12-agnews-style", "train.csv", ["the labels are the numbers 1 to 4"]),
    ("20-jsonl-mixed-types", "bools.jsonl", ["'False' (39), 'false' (36)", "holds 75 texts, 75 booleans"]),
    ("21-jsonl-nested-multilabel", "joined.csv", ["3 of 6 labels join others with '|'"]),
    ("21-jsonl-nested-multilabel", "multi.jsonl", ["one label a text is what is learned here"]),
    ("27-dirty-labels", "labels.csv", ["'spam' (93), 'Spam' (22), 'SPAM' (15)", "spam: [spam, Spam, SPAM]"]),
    ("32-long-documents", "reports.csv", ["80 have more than 256, 80 have more than 1,024"]),
    ("33-duplicates-conflicts", "dups.csv", ["20 texts stand there with different labels"]),
    ("34-imbalance", "rare.csv", ["95.0% of the rows are 'ham'"]),
    ("35-holes", "one-class.csv", ["A run would refuse this: one-class.csv: every message has the label 'spam'"]),
    ("37-alpaca-variants", "null.json", ["empty output", "--data.empty_text drop"]),
]  # fmt: skip


@pytest.mark.parametrize(("folder", "file", "said"), SAID, ids=[f"{folder}/{file}" for folder, file, _ in SAID])
def test_what_the_screen_says(
    folder: str, file: str, said: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert main([str(case(folder, file))]) == 0
    printed = capsys.readouterr().out
    assert [words for words in said if words not in printed] == []
    assert printed.count("\n") < 40
    assert "\x1b" not in printed
    assert "\x07" not in printed


REFUSED = [
    ("14-not-the-file", "reviews.csv", "is a web page ('Sign in'), not data"),
    ("14-not-the-file", "train.csv", "is a Git LFS pointer"),
    ("17-other-compressions", "cut.csv.gz", "is damaged"),
    ("18-zip-members", "data.zip", "train.csv"),
    ("18-zip-members", "locked.zip", "encrypted"),
    ("19-json-shapes", "commas.jsonl", "line 1 ends with a comma"),
    ("19-json-shapes", "repr.jsonl", "is written as Python shows a dictionary"),
    ("35-holes", "empty.csv", "empty.csv is empty: is it the right file?"),
    ("35-holes", "header-only.csv", "has no messages, only a header row or blank lines"),
]


@pytest.mark.parametrize(
    ("folder", "file", "sentence"), REFUSED, ids=[f"{folder}/{file}" for folder, file, _ in REFUSED]
)
def test_what_is_no_data_is_said_as_a_run_says_it(
    folder: str, file: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(case(folder, file))]) == 2
    (error,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert sentence in error
