"""Whatever a file is written as, the rows that went in come out: the same texts and labels, each with its number, or
named with a reason."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.data.messages.reading import LabelledRows
from lib.data.source.data_file import DataFile
from lib.data.source.reader import How

FAST = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LABELS = ["ham", "spam", "NA", "null", "None", "nan", "1.0", "1", "True", "true", " x ", "ü"]
# Quotes, separators, line ends and control characters are frequent; a byte order mark is none of a text.
AWKWARD = st.sampled_from("\",;\t|\\'\n\r \0\x1a\x07\x1b\u2028\x85éß€😀{}[]:0")
TEXTS = st.text(st.one_of(AWKWARD, st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff")), max_size=30)
# What UTF-16 without a mark is told by: nothing that texts hardly have.
PLAIN = st.text(st.characters(categories=["L", "Nd", "Zs"], max_codepoint=0xFFF), max_size=20)
WESTERN = st.text(st.sampled_from('abc",;\n éüß€£'), max_size=20)

Rows = list[tuple[str, str]]


def rows(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Rows]:
    return st.lists(st.tuples(texts, st.sampled_from(LABELS)), min_size=1, max_size=12)


def come_out(file: Path, how: How, *, text: Any = "text", label: Any = "label", bad_rows: Any = "error") -> list[Any]:
    """Each row that is read: its text and label, or in place of both the reason."""
    found = LabelledRows(DataFile(file, file.name), how, text_column=text, label_column=label, bad_rows=bad_rows)
    table = pa.Table.from_batches(found)
    assert table["row"].to_pylist() == list(range(len(table)))
    columns = zip(*(table[name].to_pylist() for name in ("text", "label", "reason")), strict=True)
    return [reason or (text, label) for text, label, reason in columns]


def field(text: str, separator: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in f'{separator}"\n\r') else text


def lines(rows: Rows, separator: str, end: str, *, header: bool = True) -> str:
    whole = [("text", "label")] * header + rows
    return "".join(separator.join(field(each, separator) for each in row) + end for row in whole)


def quoting(rows: Rows, separator: str) -> str | None:
    """The quoting, where a file of a few rows can be read in two ways: texts with whole rows inside of them."""
    return "csv" if any(separator in text and ("\n" in text or "\r" in text) for text, _ in rows) else None


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "utf-8": str.encode,
    "utf-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16, the other way": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "utf-32": lambda text: text.encode("utf-32"),
}


@FAST
@given(rows(TEXTS), st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(sorted(ENCODINGS)))
def test_separated_lines(tmp_path: Path, rows: Rows, separator: str, end: str, encoding: str) -> None:
    file = tmp_path / "data"
    file.write_bytes(ENCODINGS[encoding](lines(rows, separator, end)))
    assert come_out(file, How(quoting=quoting(rows, separator))) == rows  # type: ignore[arg-type]


@FAST
@given(rows(TEXTS), st.sampled_from(",;\t|"), st.booleans())
def test_lines_without_a_header(tmp_path: Path, rows: Rows, separator: str, last: bool) -> None:
    file = tmp_path / "data"
    written = lines(rows, separator, "\n", header=False)
    file.write_bytes((written if last else written[:-1]).encode())
    how = How(separator=separator, quoting="csv")
    assert come_out(file, how, text=0, label=1) == rows


@FAST
@given(rows(TEXTS), st.sampled_from(",;\t|"), st.data())
def test_quotes_that_are_text(tmp_path: Path, rows: Rows, separator: str, data: st.DataObject) -> None:
    rows = [(text.translate({ord(mark): " " for mark in f"{separator}\n\r"}), label) for text, label in rows]
    file = tmp_path / "data"
    file.write_bytes("".join(f"{text}{separator}{label}\n" for text, label in [("text", "label"), *rows]).encode())
    assert come_out(file, How(quoting="none")) == rows


@FAST
@given(rows(WESTERN), st.sampled_from(",;\t|"))
def test_an_encoding_that_is_said(tmp_path: Path, rows: Rows, separator: str) -> None:
    rows = [(text, label.replace("ü", "u")) for text, label in rows]
    file = tmp_path / "data"
    file.write_bytes(lines(rows, separator, "\r\n").encode("cp1252"))
    assert come_out(file, How(encoding="cp1252", quoting=quoting(rows, separator))) == rows  # type: ignore[arg-type]


@FAST
@given(rows(PLAIN), st.sampled_from(["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]))
def test_wide_characters_without_a_mark(tmp_path: Path, rows: Rows, encoding: str) -> None:
    file = tmp_path / "data"
    file.write_bytes(lines(rows, "\t", "\r\n").encode(encoding))
    assert come_out(file, How()) == rows


@FAST
@given(rows(TEXTS), st.sampled_from(",;\t|"), st.data())
def test_rows_that_cannot_be_read_are_named(tmp_path: Path, rows: Rows, separator: str, data: st.DataObject) -> None:
    expected: list[Any] = list(rows)
    written = [tuple(field(each, separator) for each in row) for row in rows]
    for at in sorted(data.draw(st.sets(st.integers(0, len(rows) - 1), max_size=3))):
        written[at] = ("x", "y", "z")
        expected[at] = "wrong number of fields"
    file = tmp_path / "data"
    file.write_bytes("".join(f"{separator.join(row)}\n" for row in [("text", "label"), *written]).encode())
    assert come_out(file, How(separator=separator, quoting="csv"), bad_rows="drop") == expected


def objects(rows: Rows) -> list[dict[str, Any]]:
    return [{"id": number, "text": text, "label": label} for number, (text, label) in enumerate(rows)]


ARRANGEMENTS: dict[str, Callable[[list[dict[str, Any]], bool], str]] = {
    "lines": lambda whole, ascii: "".join(json.dumps(each, ensure_ascii=ascii) + "\n" for each in whole),
    "list": lambda whole, ascii: json.dumps(whole, ensure_ascii=ascii),
    "list, laid out": lambda whole, ascii: json.dumps(whole, indent=2, ensure_ascii=ascii),
    "objects, laid out": lambda whole, ascii: "\n".join(json.dumps(each, indent=1) for each in whole),
    "inside an object": lambda whole, ascii: json.dumps({"version": 1, "data": whole}, ensure_ascii=ascii),
    "columns": lambda whole, ascii: json.dumps({name: [each[name] for each in whole] for name in ("text", "label")}),
    "columns by number": lambda whole, ascii: json.dumps(
        {name: {str(row): each[name] for row, each in enumerate(whole)} for name in ("text", "label")}
    ),
    "rows by number": lambda whole, ascii: json.dumps({str(row): each for row, each in enumerate(whole)}),
    "rows beside names": lambda whole, ascii: json.dumps(
        {"columns": ["text", "label"], "data": [[each["text"], each["label"]] for each in whole]}
    ),
}  # fmt: skip


@FAST
@given(rows(TEXTS), st.sampled_from(sorted(ARRANGEMENTS)), st.booleans(), st.sampled_from(sorted(ENCODINGS)))
def test_json(tmp_path: Path, rows: Rows, arrangement: str, ascii: bool, encoding: str) -> None:
    file = tmp_path / "data"
    file.write_bytes(ENCODINGS[encoding](ARRANGEMENTS[arrangement](objects(rows), ascii)))
    assert come_out(file, How()) == rows


TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int32(), pa.string())]


@FAST
@given(rows(TEXTS), st.sampled_from(TYPES), st.sampled_from(TYPES), st.integers(1, 5))
def test_parquet(tmp_path: Path, rows: Rows, text: pa.DataType, label: pa.DataType, group: int) -> None:
    columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    arrays = {
        name: pa.array(values).cast(kind) if pa.types.is_binary(kind) else pa.array(values, kind)
        for (name, values), kind in zip(columns.items(), (text, label), strict=True)
    }
    pq.write_table(pa.table(arrays), tmp_path / "data", row_group_size=group)
    assert come_out(tmp_path / "data", How()) == rows


@pytest.mark.parametrize("rows", [20_000])
def test_batches_join_without_a_seam(tmp_path: Path, rows: int) -> None:
    whole = [(f'text "{number}"\n,{"x" * (number % 700)}', LABELS[number % 12]) for number in range(rows)]
    (tmp_path / "data.csv").write_text(lines(whole, ",", "\n"), newline="")
    (tmp_path / "data.json").write_text(json.dumps(objects(whole)))
    pq.write_table(
        pa.table({"text": [text for text, _ in whole], "label": [label for _, label in whole]}), tmp_path / "p"
    )
    for name in ("data.csv", "data.json", "p"):
        assert come_out(tmp_path / name, How()) == whole
