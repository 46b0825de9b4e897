"""Labels of whole files, counted by Arrow: as ours are read, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.data.inspection.counting import Counts, count_labels
from lib.data.inspection.labelled import read_labelled
from lib.data.source.data_file import DataFile
from lib.data.source.reader import How


def counted(path: Path, label: str | int = "label", text: str | int = "text") -> tuple[Counts | None, list[str | None]]:
    """Returns what is counted, and the labels of all rows as they are read."""
    file = DataFile(path, path.name)
    rows = read_labelled([file], How(), text=text, label=label)
    assert rows.form is not None
    return count_labels(file, rows.form, label, rows.every_label[:2]), rows.every_label


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("a.csv", 'text,label\n"a, ""b""\nc",x\nd,\ne,NA\nf,007\n'),
        ("bom.csv", "\ufefftext,label\na,x\nb,y\n"),
        ("a.tsv", 'text\tlabel\n"a\tx\n b "\ty\n\nc\tx\n'),
        ("semicolons.csv", "text;label\na, b;x\nc;y\nd;x\n"),
        ("backslashes.csv", '"text","label"\n"a \\"b\\", c","x"\n"d","y"\n'),
        ("texts.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "label": null}\n{"label": "x", "text": "c"}\n'),
        ("numbers.jsonl", '{"text": "a", "label": 1}\n\n{"text": "b", "label": 0, "more": [1]}\n'),
        ("booleans.jsonl", '{"text": "a", "label": true}\n{"text": "b", "label": false}\n'),
    ],
)
def test_the_same_labels_as_are_read(name: str, contents: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(contents)
    counts, labels = counted(path)
    assert counts is not None
    assert counts.labels == {label: labels.count(label) for label in labels}
    assert counts.rows == len(labels)


def test_rows_with_a_wrong_number_of_fields_are_counted_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,x\nb,y\nc\nd,x,x\ne,y\n")
    counts, _ = counted(path)
    assert counts is not None
    assert (counts.unreadable, counts.rows) == (2, 5)


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("mixed.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": "1"}\n'),
        ("nested.jsonl", '{"text": "a", "label": 1.5}\n{"text": "b", "label": 2}\n'),
        ("list.json", '[{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]'),
    ],
)
def test_what_arrow_cannot_read_alike_is_not_counted(name: str, contents: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(contents)
    assert counted(path)[0] is None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1252"])
def test_other_encodings(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "café au lait,été\nb,y\n" * 50, encoding=encoding)
    counts, _ = counted(path)
    assert counts is not None
    assert counts.labels == {"été": 50, "y": 50}


def test_json_in_another_encoding_is_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": "x"}\n' * 2, encoding="utf-16")
    assert counted(path)[0] is None


def test_parquet_counts_as_it_reads(tmp_path: Path) -> None:
    """Whole numbers as floats, names beside numbers, categories, and several row groups."""
    names = {"info": {"features": {"named": {"names": ["no", "yes"]}}}}
    table = pa.table(
        {
            "text": ["a", "b", "c", "d"],
            "floats": [1.0, 0.0, None, 1.0],
            "named": [0, 1, 1, -1],
            "categories": pa.array(["x", "y", "x", None]).dictionary_encode(),
        }
    ).replace_schema_metadata({"huggingface": json.dumps(names)})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=2)
    for column, expected in {
        "floats": {"1": 2, "0": 1, None: 1},
        "named": {"no": 1, "yes": 2, None: 1},
        "categories": {"x": 2, "y": 1, None: 1},
    }.items():
        counts, labels = counted(path, column)
        assert counts is not None
        assert counts.labels == expected == {label: labels.count(label) for label in labels}
