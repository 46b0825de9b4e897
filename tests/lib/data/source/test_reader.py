"""One reader for every file: what it is found out to be, and its rows with what cannot be read among them."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.data.messages.reading import LabelledRows
from lib.data.source.data_file import DataFile
from lib.data.source.reader import How, open_source, read
from lib.errors import ArchiveError, MessagesError

TEXT = {"--data.text_column": "text"}
PAIR = TEXT | {"--data.label_column": "label"}


def written(folder: Path, name: str, content: bytes | str, longest: int = 2**20) -> DataFile:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return DataFile(file, name, longest)


def cells(file: DataFile, how: How | None = None) -> list[tuple[Any, Any]]:
    """Text and label of each row, as the source has them."""
    found: list[tuple[Any, Any]] = []
    for batch in open_source(file, how or How(), PAIR).batches(PAIR):
        found += zip(batch.cells["text"], batch.cells["label"], strict=True)
    return found


def labelled(file: DataFile, how: How | None = None, **options: Any) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Row, line, text, label and reason of each row, and the warnings."""
    given = {"text_column": "text", "label_column": "label", "bad_rows": "error"} | options
    rows = LabelledRows(file, how or How(), **given)
    table = [tuple(row.values()) for batch in rows for row in batch.to_pylist()]
    return table, rows.warnings


def form(file: DataFile, how: How | None = None) -> dict[str, Any]:
    return open_source(file, how or How(), PAIR).form.as_json()


# Encodings

SENTENCES = {
    "cp1252": "Très bon produit, livré à l’heure et même plus tôt que prévu; où est le café à £5?",
    "cp1250": "Zażółć gęślą jaźń, źle się czułem po obsłudze i nie polecam nikomu tego sklepu",
    "cp1251": "Очень плохой товар, не рекомендую никому, доставка задержалась на неделю",
    "koi8_r": "Очень плохой товар, не рекомендую никому, доставка задержалась на неделю",
    "cp1253": "Πολύ κακό προϊόν, δεν το συνιστώ σε κανέναν και η παράδοση άργησε",
    "cp932": "とても悪い商品でした。誰にもお勧めしません。カタカナもあります",
    "cp949": "아주 나쁜 제품입니다. 아무에게도 추천하지 않습니다",
    "gb18030": "非常差的产品，不推荐给任何人。快递也很慢，客服态度不好，以后不会再买了",
}


@pytest.mark.parametrize("encoding", sorted(SENTENCES))
def test_an_encoding_is_detected_with_its_confidence(tmp_path: Path, encoding: str) -> None:
    sentence = SENTENCES[encoding]
    rows = [(f"{number} {sentence}", f"l{number % 2}") for number in range(50)]
    content = "label;text\n" + "".join(f"{label};{text.replace(';', ',')}\n" for text, label in rows)
    file = written(tmp_path, "m.csv", content.encode(encoding))
    assert cells(file) == [(text.replace(";", ","), label) for text, label in rows]
    name, how, confidence = form(file)["encoding"].split(", ")
    assert (name, how) == (encoding, "detected")
    assert 0.5 <= float(confidence) <= 1


def test_what_is_far_into_a_file_counts(tmp_path: Path) -> None:
    content = "text,label\n" + "hello,ham\n" * 200_000 + "café au lait à la crème,ham\n"
    file = written(tmp_path, "m.csv", content.encode("cp1252"))
    assert cells(file)[-1] == ("café au lait à la crème", "ham")
    assert form(file)["encoding"] == "cp1252, detected, 0.9"


def test_a_few_damaged_rows_do_not_make_another_encoding(tmp_path: Path) -> None:
    content = b"text,label\n" + "café,ham\n".encode() * 20 + b"caf\xe9,ham\n" + "thé,ham\n".encode()
    file = written(tmp_path, "m.csv", content)
    with pytest.raises(MessagesError, match=r"m.csv is not UTF-8: byte 214 \(counted from 0\) is 0xe9"):
        labelled(file)
    rows, _ = labelled(file, bad_rows="drop")
    assert [row[0] for row in rows if row[4] == "not UTF-8"] == [20]
    assert len(rows) == 22


def test_an_encoding_that_is_said_is_believed_and_checked(tmp_path: Path) -> None:
    file = written(tmp_path, "m.csv", "text,label\ncafé,ham\n".encode("cp850"))
    assert cells(file, How(encoding="cp850")) == [("café", "ham")]
    with pytest.raises(MessagesError, match=r"m\.csv is not UTF-8: byte 14"):
        cells(file, How(encoding="utf-8"))
    cut = written(tmp_path, "cut.csv", "text,label\nhi,ham\n".encode("utf-16")[:-1])
    with pytest.raises(MessagesError, match=r"cut\.csv is not UTF-16"):
        labelled(cut, bad_rows="drop")


# Separators and quotes


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_separator_is_found_out_without_a_header(tmp_path: Path, separator: str) -> None:
    texts = ["hello, you; there", "win | now", "one,two", "a;b"]
    rows = [(text, f"l{number % 2}") for number, text in enumerate(texts * 5)]
    content = "".join(f"{label}{separator}{text.replace(separator, ' ')}\n" for text, label in rows)
    columns = {"--data.text_column": 1, "--data.label_column": 0}
    source = open_source(written(tmp_path, "data", content), How(), columns)
    assert source.form.separator == separator
    found = [text for batch in source.batches(columns) for text in batch.cells[1]]
    assert found == [text.replace(separator, " ") for text, _ in rows]


def test_backslashes_before_quotes_are_found_out(tmp_path: Path) -> None:
    content = 'text,label\n"He said \\"hi, you\\" and left",ham\n"C:\\temp, \\\\server",spam\nplain,ham\n'
    file = written(tmp_path, "m.csv", content)
    assert form(file)["quoting"] == "backslash"
    assert cells(file) == [('He said "hi, you" and left', "ham"), ("C:\\temp, \\server", "spam"), ("plain", "ham")]


def test_a_stray_quote_in_a_file_with_quoted_fields_is_refused(tmp_path: Path) -> None:
    content = 'text,label\n"one, two",ham\n"never closed,ham\nthree,spam\n"four, five",ham\n'
    with pytest.raises(MessagesError, match=r"m.csv, line 3"):
        labelled(written(tmp_path, "m.csv", content))


def test_quoted_texts_of_several_lines_are_no_rows_of_their_own(tmp_path: Path) -> None:
    content = 'text,label\n"a,\nb",x\n"c,\nd",y\n'
    assert cells(written(tmp_path, "m.csv", content)) == [("a,\nb", "x"), ("c,\nd", "y")]


# Headers


def test_a_second_header_is_refused_or_left_out(tmp_path: Path) -> None:
    file = written(tmp_path, "m.csv", "text,label\na,ham\ntext,label\nb,spam\n")
    with pytest.raises(MessagesError, match=r"m.csv, line 3 \(row 1\) is the header again.*bad_rows drop"):
        labelled(file)
    rows, _ = labelled(file, bad_rows="drop")
    assert rows == [(0, 2, "a", "ham", None), (1, 3, None, None, "the header again"), (2, 4, "b", "spam", None)]


@pytest.mark.parametrize("first", ["0,1", ",0,1", "text,label", "Label,Text"])
def test_names_of_columns_are_no_message(tmp_path: Path, first: str) -> None:
    at = first.count(",") - 1
    rows = "".join(f"{'9,' * at}text {number},ham\n" for number in range(3))
    file = written(tmp_path, "m.csv", f"{first}\n{rows}")
    table, warnings = labelled(file, text_column=at, label_column=at + 1)
    assert [row[:4] for row in table] == [(number, number + 2, f"text {number}", "ham") for number in range(3)]
    assert len(warnings) == 1
    assert "not read as a row" in warnings[0]


def test_columns_without_a_name_that_are_empty_are_harmless(tmp_path: Path) -> None:
    table, warnings = labelled(written(tmp_path, "m.csv", "text,label,,\na,ham,,\nb,spam,, \n"))
    assert (len(table), warnings) == (2, [])


# JSON


def test_fields_inside_others(tmp_path: Path) -> None:
    records = [{"turns": [{"text": "hi"}], "meta": {"label": "ham"}, "a.b": "x"}, {"turns": [], "meta": {"label": "x"}}]
    file = written(tmp_path, "m.json", json.dumps(records))
    columns: dict[str, Any] = {"text_column": "turns.0.text", "label_column": "meta.label"}
    with pytest.raises(MessagesError, match=r"m.json, line 1 has no column 'turns.0.text', only 'turns', 'meta.label'"):
        labelled(file, **columns)
    rows, _ = labelled(file, bad_rows="drop", **columns)
    assert [row[2:] for row in rows] == [("hi", "ham", None), (None, None, "no such field")]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            "{'text': 'a', 'label': None}\n{'text': 'b', 'label': 'x'}\n",
            "line 1 is written as Python shows a dictionary",
        ),
        ('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"},\n', "line 2 ends with a comma"),
        (
            '{"text": "a", "label": "x"}\n{["a"]}\n',
            "line 2 is not JSON",
        ),  # and no expression of Python, though it reads as one
        ('[{"text": "a", "label": "x"}\n', "the list is never closed"),
        ('[\n{"text": "a", "label": "x"},\n{"text": b}]', "line 3 is not JSON"),
        ('{\n "text": "a",\n "label": "x"\n}\n{\n "text": ,\n}', "line 6 is not JSON"),
        ('[["a", "x"]]', "line 1 is not a JSON object: every entry must look like"),
        ('{"a": [{"text": "a"}], "b": [{"text": "b"}]}', "lists of records in 'a', 'b'"),
        ('{"text": ["a", "b"], "label": ["x"]}', r"lists of different lengths \('text' 2, 'label' 1\)"),
    ],
)
def test_what_is_no_json_is_named(tmp_path: Path, content: str, sentence: str) -> None:
    with pytest.raises(MessagesError, match=sentence) as caught:
        labelled(written(tmp_path, "data", content))
    assert "\n" not in str(caught.value)


def test_types_mixed_in_labels_are_said(tmp_path: Path) -> None:
    content = '{"text": "a", "label": 1}\n{"text": "b", "label": "1"}\n{"text": "c", "label": true}\n'
    table, warnings = labelled(written(tmp_path, "m.jsonl", content))
    assert [row[3] for row in table] == ["1", "1", "true"]
    assert "holds 1 numbers, 1 texts, 1 booleans" in warnings[0]


def test_one_conversation_is_one_record(tmp_path: Path) -> None:
    file = written(tmp_path, "m.jsonl", '{"messages": [{"role": "user", "content": "hi"}], "label": "x"}\n')
    (batch,) = open_source(file, How(), {}).records()
    assert batch.records == [{"messages": [{"role": "user", "content": "hi"}], "label": "x"}]


# Parquet


def parquet(folder: Path, columns: dict[str, Any], **options: Any) -> DataFile:
    pq.write_table(pa.table(columns), folder / "m", **options)
    return DataFile(folder / "m", "m")


def test_parquet_names_of_classes_and_columns_inside_others(tmp_path: Path) -> None:
    features = {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}, "text": {"dtype": "string"}}
    schema = pa.schema(
        [("text", pa.struct([("body", pa.string())])), ("label", pa.int64())],
        {"huggingface": json.dumps({"info": {"features": features}})},
    )
    table = pa.table([[{"body": "a"}, {"body": "b"}, None], [1, 0, -1]], schema=schema)
    pq.write_table(table, tmp_path / "m")
    rows, _ = labelled(DataFile(tmp_path / "m", "m"), text_column="text.body")
    assert [row[2:4] for row in rows] == [("a", "pos"), ("b", "neg"), (None, None)]


@pytest.mark.parametrize(
    ("labels", "texts"), [([1.0, None, 0.0], ["1", None, "0"]), ([1.0, float("nan"), 0.5], ["1.0", None, "0.5"])]
)
def test_parquet_floats_that_are_whole_are_integers(tmp_path: Path, labels: list[Any], texts: list[Any]) -> None:
    rows, warnings = labelled(parquet(tmp_path, {"text": list("abc"), "label": labels}))
    assert [row[3] for row in rows] == texts
    assert len(warnings) == ("1" in texts)


def test_parquet_passes_over_the_index_of_pandas(tmp_path: Path) -> None:
    file = parquet(tmp_path, {"text": ["a"], "__index_level_0__": [7], "label": ["x"]})
    assert form(file)["columns"] == ["text", "label"]
    (batch,) = open_source(file, How(), PAIR).records()
    assert batch.records == [{"text": "a", "label": "x"}]


# Workbooks


def workbook(folder: Path) -> DataFile:
    book = openpyxl.Workbook()
    book.active.title = "Notes"  # empty
    sheet = book.create_sheet("Tickets")
    for column, name_of_column in (("B", "text"), ("C", "label")):
        sheet[f"{column}3"] = name_of_column
    values: list[Any] = ["hi", 7, "NA", datetime.date(2026, 1, 2), "last"]
    for row, (value, label) in enumerate(zip(values, [1, 1.5, True, "007", None], strict=True), start=4):
        sheet[f"B{row + (row > 5)}"], sheet[f"C{row + (row > 5)}"] = value, label
    book.create_sheet("More")["A1"] = "other"
    book.save(folder / "m.xlsx")
    return DataFile(folder / "m.xlsx", "m.xlsx")


@pytest.mark.parametrize(
    ("cells", "error", "said"),
    [
        (
            {"A1": "text", "XFD1048576": "a"},
            MessagesError,
            "needs more than 2 GiB of memory to be read.*remove that cell",
        ),
        (
            {f"A{row}": "x" * 30_000 for row in range(1, 5000)},
            ArchiveError,
            r"more than 200 times its own size.*save the sheet as CSV",
        ),
    ],
    ids=["corners", "one text"],
)
def test_a_workbook_that_asks_for_all_memory(
    cells: dict[str, str], error: type[Exception], said: str, tmp_path: Path
) -> None:
    book = openpyxl.Workbook()
    for place, value in cells.items():
        book.active[place] = value
    book.save(tmp_path / "m.xlsx")
    assert (tmp_path / "m.xlsx").stat().st_size < 200_000
    with pytest.raises(error, match=said):
        labelled(DataFile(tmp_path / "m.xlsx", "m.xlsx"))


def test_a_workbook_is_read_from_its_beginning_as_often_as_it_is_asked(tmp_path: Path) -> None:
    source = open_source(workbook(tmp_path), How(), {"text_column": "text"})
    both = list(zip(source.records(), source.records(), strict=True))
    assert both
    assert all(first == second for first, second in both)


@pytest.mark.parametrize("name", ["m.xlsx", "m.csv"])
def test_a_workbook_is_read_as_it_is_shown(tmp_path: Path, name: str) -> None:
    table, warnings = labelled(DataFile(workbook(tmp_path).path, name))
    assert table == [
        (0, 4, "hi", "1", None),
        (1, 5, "7", "1.5", None),
        (2, 7, "NA", "true", None),
        (3, 8, "2026-01-02", "007", None),
        (4, 9, "last", None, None),
    ]
    assert "of which 'Tickets' is read, and not 'More': --data.sheet names another one" in warnings[0]


def test_a_sheet_can_be_named(tmp_path: Path) -> None:
    file = workbook(tmp_path)
    assert form(file, How(sheet="More"))["columns"] == ["other"]
    with pytest.raises(MessagesError, match="no sheet 'Other', only 'Notes', 'Tickets', 'More'"):
        form(file, How(sheet="Other"))


# Bounds


def test_one_endless_line_does_not_fill_the_memory(tmp_path: Path) -> None:
    endless = written(tmp_path, "m.jsonl", json.dumps([{"text": "a"}] * 100), longest=100)
    with pytest.raises(MessagesError, match="line 1 is longer than 100 bytes"):
        list(open_source(endless, How(), TEXT).batches(TEXT))
    lost_quote = written(tmp_path, "m.csv", 'text\n"a\n' + "another line\n" * 100, longest=100)
    with pytest.raises(MessagesError, match=r"line 2: a field cannot be read .* double quote"):
        list(read(lost_quote, How(), open_source(lost_quote, How(quoting="csv"), TEXT).batches(TEXT)))


@pytest.mark.parametrize(
    "content",
    [
        '[[{"text": "a"}], [{"text": "b", "more": 1}]]',
        '{"0": {"text": "a"}, "1": {"text": "b", "more": 1}}',
    ],
    ids=["lists in a list", "by id, of other fields"],
)
def test_records_are_found_wherever_they_lie(tmp_path: Path, content: str) -> None:
    file = written(tmp_path, "m.json", content)
    (batch,) = open_source(file, How(), TEXT).batches(TEXT)
    assert batch.cells == {"text": ["a", "b"]}


def test_what_stands_behind_a_list_is_not_lost(tmp_path: Path) -> None:
    file = written(tmp_path, "m.json", '[{"text": "a"}]\n[{"text": "b"}]\n')
    with pytest.raises(MessagesError, match=r"line 2 is not JSON \(something stands behind the end of the list\)"):
        list(open_source(file, How(), TEXT).batches(TEXT))
