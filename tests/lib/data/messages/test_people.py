"""Files that people really have, of ../shared/cases, read as training reads them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lib.data.messages.reading import ROWS, LabelledRows
from lib.data.source.data_file import DataFile
from lib.data.source.reader import How
from lib.errors import MessagesError

CASES = Path(__file__).parents[4].parent / "shared" / "cases"
TOPICS = {"billing": 80, "delivery": 80, "technical": 80}


class Came:
    """What came out of a case's file."""

    def __init__(
        self, place: str, *, text: Any = "text", label: Any = "label", bad_rows: Any = "error", **how: Any
    ) -> None:
        file = CASES / place
        if not file.exists():
            pytest.skip(f"needs ../shared/cases/{place}")
        self.rows = LabelledRows(
            DataFile(file, file.name), How(**how), text_column=text, label_column=label, bad_rows=bad_rows
        )
        self.table = pa.Table.from_batches(self.rows, schema=ROWS)
        self.labels = dict(Counter(self.table["label"].to_pylist()))
        self.characters = sum(len(text or "") for text in self.table["text"].to_pylist())
        self.warnings = self.rows.warnings
        self.form = self.rows.form.as_json()


def refusal(place: str, **options: Any) -> str:
    with pytest.raises(MessagesError) as caught:
        Came(place, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("file", "encoding"), [("spam.csv", "cp1252, detected, 0.9"), ("spam-utf8.csv", "utf-8, contents")]
)
def test_01_kaggle_latin1(file: str, encoding: str) -> None:
    came = Came(f"01-kaggle-latin1/{file}", text="v2", label="v1")
    assert came.labels == {"ham": 160, "spam": 80}
    assert came.characters == 18296
    assert came.form["encoding"] == encoding
    assert came.warnings == [
        f"{file}: 20 rows have something in a column without a name (first: line 11), which is not read: see whether"
        " texts with separators in them run over"
    ]


def test_02_semicolon() -> None:
    came = Came("02-semicolon/tickets.csv")
    assert (came.labels, came.form["separator"]) == (TOPICS, ";")


@pytest.mark.parametrize(
    ("file", "encoding"), [("reviews.txt", "utf-16, byte order mark"), ("reviews-nobom.txt", "utf-16-le, contents")]
)
def test_03_utf16(file: str, encoding: str) -> None:
    came = Came(f"03-utf16/{file}")
    assert came.labels == {"negative": 60, "positive": 60}
    assert (came.form["encoding"], came.form["separator"]) == (encoding, "\t")


def test_04_bom_and_spaces_in_a_header() -> None:
    assert Came("04-bom-quoted-header/tickets.csv").labels == TOPICS
    assert "has no column 'text', only ' label', 'text ':" in refusal("04-bom-quoted-header/spaces.csv")
    assert "did you mean 'text '?" in refusal("04-bom-quoted-header/spaces.csv")


def test_05_newlines_in_fields() -> None:
    assert Came("05-newlines-in-fields/mails.csv").labels == {"billing": 100, "technical": 100}


def test_06_stray_quotes() -> None:
    for file in ("sms.tsv", "sms-odd.tsv"):
        came = Came(f"06-stray-quotes-tsv/{file}", text=1, label=0)
        assert (came.labels, came.form["quoting"]) == ({"ham": 120, "spam": 80}, "none")
    told = Came("06-stray-quotes-tsv/sms.tsv", text=1, label=0, quoting="csv")
    assert len(told.table) == 192
    assert len(told.warnings) == 1
    assert "192 rows with --data.quoting csv and 200 with --data.quoting none" in told.warnings[0]
    assert "line 151: a double quote opens" in refusal(
        "06-stray-quotes-tsv/sms-odd.tsv", text=1, label=0, quoting="csv"
    )


def test_08_control_characters() -> None:
    came = Came("08-nul-and-control/export.csv")
    assert (came.labels, came.characters) == ({"billing": 80, "delivery": 80}, 15786)
    assert came.warnings == ["export.csv: 48 texts have control characters, such as NUL, which are kept"]


def test_09_words_for_missing_values() -> None:
    came = [Came(f"09-na-null-none/regions.{ending}") for ending in ("csv", "jsonl", "parquet")]
    assert came[0].labels == dict.fromkeys(["N/A", "NA", "None", "nan", "null"], 60)
    assert all(other.table["text"].equals(came[0].table["text"]) for other in came)
    assert all(other.table["label"].equals(came[0].table["label"]) for other in came)


def test_10_trailing_commas() -> None:
    assert "line 6 (row 4) has 3 fields where the first line has 2" in refusal("10-trailing-commas/reviews.csv")
    assert "line 2 (row 0) has 3 fields" in refusal("10-trailing-commas/all-rows.csv")
    came = Came("10-trailing-commas/reviews.csv", bad_rows="drop")
    assert came.labels == {"negative": 46, "positive": 43, None: 11}
    assert came.table["reason"].to_pylist().count("wrong number of fields") == 11


def test_11_headers_of_pandas() -> None:
    came = Came("11-pandas-headers/unnamed.csv", text=0, label=1)
    assert came.labels == {"0": 70, "1": 70}
    assert came.warnings == ["unnamed.csv: the first line ('0', '1') has names of columns, so it is not read as a row"]
    came = Came("11-pandas-headers/index.csv")
    assert (came.labels, came.warnings) == ({"0": 70, "1": 70}, [])


def test_12_no_header() -> None:
    assert Came("12-agnews-style/train.csv", text=2, label=0).labels == dict.fromkeys("1234", 75)


@pytest.mark.parametrize("file", ["tickets.xlsx", "tickets.csv"])
def test_15_workbook(file: str) -> None:
    came = Came(f"15-excel-workbook/{file}")
    assert came.labels == {"billing": 60, "technical": 60}
    assert (came.form["format"], came.form["layout"]) == ("excel", "sheet Tickets")


@pytest.mark.parametrize(
    "file", ["array.json", "array-pretty.json", "columns.json", "concatenated.jsonl", "good.jsonl", "wrapped.json"]
)
def test_19_json_shapes(file: str) -> None:
    came = Came(f"19-json-shapes/{file}")
    assert (came.labels, came.characters) == (TOPICS, 22665)


def test_19_what_is_almost_json() -> None:
    assert "commas.jsonl, line 1 ends with a comma" in refusal("19-json-shapes/commas.jsonl")
    assert "repr.jsonl, line 1 is written as Python shows a dictionary" in refusal("19-json-shapes/repr.jsonl")


def test_20_mixed_types() -> None:
    came = Came("20-jsonl-mixed-types/mixed.jsonl")
    assert came.labels == {"0": 75, "1": 75}
    assert "holds 75 numbers, 75 texts" in came.warnings[0]
    assert "holds 75 texts, 75 booleans" in Came("20-jsonl-mixed-types/bools.jsonl").warnings[0]
    came = Came("20-jsonl-mixed-types/holes.jsonl")
    assert came.labels == {"0": 71, "1": 75, None: 4}


def test_21_lists_and_nested_fields() -> None:
    assert "line 1: column 'labels' holds a list" in refusal("21-jsonl-nested-multilabel/multi.jsonl", label="labels")
    place = "21-jsonl-nested-multilabel/nested.jsonl"
    assert "column 'annotations' holds a list" in refusal(place, text="data.text", label="annotations")
    assert Came(place, text="data.text", label="annotations.0.result").labels == TOPICS
    assert len(Came("21-jsonl-nested-multilabel/joined.csv", label="labels").labels) == 6


def test_22_floats_that_are_whole() -> None:
    came = Came("22-float-labels-next-month/january.parquet")
    assert came.labels == {"0": 90, "1": 90}
    assert came.labels == Came("22-float-labels-next-month/february.csv").labels
    assert came.warnings == ["january.parquet: column 'label' has whole numbers as 1.0, which are read as 1"]
    assert Came("22-float-labels-next-month/january-hole.parquet").labels == {"0": 90, "1": 89, None: 1}


@pytest.mark.parametrize("file", ["dictionary", "large", "pandas", "plain", "text-is-index", "view"])
def test_23_parquet_kinds(file: str) -> None:
    came = Came(f"23-parquet-kinds/{file}.parquet")
    assert (came.labels, came.characters) == (TOPICS, 22739)
    assert came.form["columns"][:2] == ["text", "label"] or file in ("pandas", "text-is-index")


def test_25_names_of_classes() -> None:
    came = Came("25-parquet-classlabel/train-00000-of-00001.parquet")
    assert came.labels == {"negative": 80, "positive": 80}


def test_35_holes() -> None:
    assert Came("35-holes/holes.csv").labels == {"negative": 67, "positive": 67, "": 6}
    assert Came("35-holes/unlabelled.csv").labels == {"": 70, "negative": 38, "positive": 32}
    assert len(Came("35-holes/header-only.csv").table) == 0
    assert len(Came("35-holes/empty.csv").table) == 0
