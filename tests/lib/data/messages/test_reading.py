"""From files in four formats to the same table; what is refused, and the sentence that says so."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.data.messages.balance import balance_messages
from lib.data.messages.checks import alike_in_memory
from lib.data.messages.profile import Counted, profile_messages, spread
from lib.data.messages.reading import LabelledRows, read_messages
from lib.data.messages.split import split_messages
from lib.data.source import encoding
from lib.data.source.data_file import LONGEST_LINE, DataFile
from lib.data.source.encoding import undecodable
from lib.data.source.reader import How
from lib.errors import MessagesError
from lib.text.gpt2 import gpt2_tokenizer
from tests.support.tokens import tokenized


def read(file: Path, **options: Any) -> pd.DataFrame:
    columns: dict[str, Any] = {"text_column": "text", "label_column": "label", "empty_text": "error"}
    columns |= {each: options.pop(each) for each in [*columns, "bad_rows"] if each in options}
    name = options.pop("name", file.name)
    how = How(**({"quoting": "csv"} | options))
    return read_messages(DataFile(file, name), how, **columns).frame()


def written(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def pairs(messages: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(messages["label"], messages["text"], strict=True))


HEADERLESS = {"text_column": 1, "label_column": 0}


# What is read


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.tsv", "label\ttext\nham\thi\nspam\twin, now\n"),
        ("m.txt", "label\ttext\nham\thi\nspam\twin, now\n"),
        ("m.csv", 'label,text\nham,hi\nspam,"win, now"\n'),
        ("M.CSV", 'x,text,label\n,hi,ham\n1,"win, now",spam'),
        ("m.jsonl", '{"label": "ham", "text": "hi"}\n{"text": "win, now", "label": "spam", "more": [1]}\n'),
        ("m.ndjson", '{"label": "ham", "text": "hi"}\r\n\r\n{"text": "win, now", "label": "spam"}'),
    ],
)
def test_formats_by_the_ending_of_the_name(tmp_path: Path, name: str, content: str) -> None:
    messages = read(written(tmp_path, name, content))
    assert pairs(messages) == [("ham", "hi"), ("spam", "win, now")]
    assert messages["id"].tolist() == [0, 1]
    assert list(messages.columns) == ["id", "text", "label"]
    assert messages["id"].dtype == "int64"


def test_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["hi", "win, now"], "label": ["ham", "spam"]}), tmp_path / "m.parquet")
    assert pairs(read(tmp_path / "m.parquet")) == [("ham", "hi"), ("spam", "win, now")]


def test_parquet_with_dictionary_columns(tmp_path: Path) -> None:
    table = pa.table({"text": ["hi", "win"], "label": pa.array(["ham", "spam"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "m.parquet")
    assert pairs(read(tmp_path / "m.parquet")) == [("ham", "hi"), ("spam", "win")]


def test_columns_by_position_have_no_header(tmp_path: Path) -> None:
    file = written(tmp_path, "data", "ham\thi\nspam\twin\n")
    assert pairs(read(file, format="tsv", **HEADERLESS)) == [("ham", "hi"), ("spam", "win")]


AWKWARD = ["NA", "null", "None", "nan", "123", "007", "1e5", "True", "-", " spaces at both ends ", "N/A", "#N/A"]


@pytest.mark.parametrize("kind", ["tsv", "csv", "jsonl", "parquet"])
def test_nothing_is_taken_for_a_number_or_a_missing_value(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"m.{kind}"
    labels = AWKWARD[::-1]
    frame = pd.DataFrame({"text": AWKWARD, "label": labels})
    if kind == "parquet":
        frame.to_parquet(file)
    elif kind == "jsonl":
        frame.to_json(file, orient="records", lines=True)
    else:
        frame.to_csv(file, sep="\t" if kind == "tsv" else ",", index=False)
    assert pairs(read(file)) == list(zip(labels, AWKWARD, strict=True))


@pytest.mark.parametrize(
    ("value", "text"), [("1", "1"), ("1.0", "1.0"), ("1e5", "1e5"), ("-0", "-0"), ("true", "true"), ("false", "false")]
)
def test_json_numbers_and_booleans_become_the_text_that_is_written(tmp_path: Path, value: str, text: str) -> None:
    file = written(tmp_path, "m.jsonl", f'{{"text": "a", "label": {value}}}\n{{"text": "b", "label": "x"}}\n')
    assert read(file)["label"][0] == text


@pytest.mark.parametrize(
    ("labels", "texts"),
    [([1, 0], ["1", "0"]), ([True, False], ["true", "false"]), ([1.5, 2.0], ["1.5", "2.0"])],
)
def test_parquet_numbers_and_booleans_become_text(tmp_path: Path, labels: list[float], texts: list[str]) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "label": labels}), tmp_path / "m.parquet")
    assert read(tmp_path / "m.parquet")["label"].tolist() == texts


@pytest.mark.parametrize("name", ["m.tsv", "m.jsonl"])
def test_byte_order_mark_is_dropped(tmp_path: Path, name: str) -> None:
    content = "text\tlabel\nhi\tham\nwin\tspam\n"
    if name == "m.jsonl":
        content = '{"text": "hi", "label": "ham"}\n{"text": "win", "label": "spam"}\n'
    assert pairs(read(written(tmp_path, name, "\ufeff" + content))) == [("ham", "hi"), ("spam", "win")]


@pytest.mark.parametrize("quoting", ["none", "csv"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends(tmp_path: Path, quoting: str, end: str, last: bool) -> None:
    content = f"ham\thi there{end}{end}spam\twin\u2028now\x85\x0b!{end if last else ''}"
    messages = read(written(tmp_path, "m.tsv", content), quoting=quoting, **HEADERLESS)
    assert pairs(messages) == [("ham", "hi there"), ("spam", "win\u2028now\x85\x0b!")]


def test_quoting_none_takes_quotes_as_text(tmp_path: Path) -> None:
    content = 'ham\t"hi\nspam\twin "big" now"\nham\t""\n'
    messages = read(written(tmp_path, "m.tsv", content), quoting="none", **HEADERLESS)
    assert pairs(messages) == [("ham", '"hi'), ("spam", 'win "big" now"'), ("ham", '""')]


def test_quoting_csv_keeps_separators_quotes_and_line_ends_in_a_field(tmp_path: Path) -> None:
    content = 'text,label\n"one, ""two""\nthree",ham\nplain "quote" inside,spam\n'
    messages = read(written(tmp_path, "m.csv", content))
    assert pairs(messages) == [("ham", 'one, "two"\nthree'), ("spam", 'plain "quote" inside')]


def test_very_long_texts_are_read(tmp_path: Path) -> None:
    long = "word " * 60_000
    messages = read(written(tmp_path, "m.csv", f"text,label\n{long}x,ham\nhi,spam\n"))
    assert messages["text"][0] == long + "x"


def test_quoting_csv_agrees_with_pandas_on_random_files(tmp_path: Path) -> None:
    generator = random.Random(7)
    compared = 0
    for _ in range(400):
        fields = ["".join(generator.choices('ab" ,', k=generator.randint(1, 6))) for _ in range(8)]
        content = "".join(f"l{row % 2}\tx{field}\ty{field}\n" for row, field in enumerate(fields))
        content = content.replace("\tx", "\t")  # fields may begin with a quote, and then swallow what follows
        file = written(tmp_path, "m.tsv", content)
        try:
            expected = pd.read_csv(io.StringIO(content), sep="\t", header=None, dtype=str, keep_default_na=False)
            how = How(format="tsv", quoting="csv")
            rows = LabelledRows(DataFile(file, "m.tsv"), how, text_column=1, label_column=0, bad_rows="error")
            ours = pa.Table.from_batches(rows)
        except (pd.errors.ParserError, MessagesError):
            continue  # both have their own opinion about rows of different widths
        if expected.shape[1] == 3 and not (expected == "").any().any():
            compared += 1
            assert ours["text"].to_pylist() == expected[1].tolist()
            assert ours["label"].to_pylist() == expected[0].tolist()
    assert compared > 50


def test_id_is_the_row_in_the_file_also_after_drops(tmp_path: Path) -> None:
    file = written(tmp_path, "m.csv", "text,label\na,ham\n  ,ham\nb,spam\n\u3000,spam\nc,ham\n")
    messages = read(file, empty_text="drop")
    assert messages["id"].tolist() == [0, 2, 4]
    assert messages.index.tolist() == [0, 1, 2]


@pytest.mark.parametrize("nothing", ["null", "NaN", '""', '" "'])
def test_json_null_counts_as_an_empty_text(tmp_path: Path, nothing: str) -> None:
    lines = [f'{{"text": {text}, "label": "{label}"}}' for text, label in [('"a"', "x"), (nothing, "x"), ('"b"', "y")]]
    file = written(tmp_path, "m.jsonl", "\n".join(lines))
    with pytest.raises(MessagesError, match=r"row 1 \(counted from 0\) has an empty text"):
        read(file)
    assert read(file, empty_text="drop")["id"].tolist() == [0, 2]


def test_parquet_null_counts_as_an_empty_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", None, "b"], "label": ["x", "x", "y"]}), tmp_path / "m.parquet")
    with pytest.raises(MessagesError, match=r"row 1 \(counted from 0\) has an empty text"):
        read(tmp_path / "m.parquet")
    assert read(tmp_path / "m.parquet", empty_text="drop")["id"].tolist() == [0, 2]


# What is refused


@pytest.mark.parametrize(
    ("name", "content", "options", "sentence"),
    [
        ("m.dat", "x", {}, r"ending of the name 'm\.dat' .* --data\.format"),
        ("data", "x", {}, r"ending of the name 'data' .* tsv, csv, jsonl or parquet"),
        ("m.csv", "", {}, r"m\.csv is empty"),
        ("m.jsonl", "", {}, r"m\.jsonl is empty"),
        ("m.csv", "\n\n", {}, r"m\.csv has no messages"),
        ("m.csv", "\ufeff", {}, r"m\.csv has no messages"),
        ("m.csv", "text,label\n", {}, r"m\.csv has no messages, only a header row"),
        ("m.csv", "texts,label\nhi,ham\n", {}, r"no column 'text', only 'texts', 'label': .*mean 'texts'\?"),
        ("m.csv", "a,b\nhi,ham\n", {}, r"no column 'text', only 'a', 'b': set --data\.text_column .*position"),
        ("m.csv", "text,text,label\na,b,ham\n", {}, r"more than one column 'text'"),
        ("m.csv", "hi,ham\n", {"text_column": 0, "label_column": 2}, r"has 2 columns.*label_column cannot be 2"),
        ("m.csv", "hi,ham\n", {"text_column": -1, "label_column": 0}, r"text_column cannot be -1"),
        ("m.csv", "text,label\na,ham\nb\n", {}, r"m\.csv, line 3 \(row 1\) has 1 fields where the first line has 2"),
        ("m.csv", "text,label\na,ham\n\nb,c,spam\n", {}, r"line 4 \(row 1\) has 3 fields"),
        ("m.csv", 'text,label\na,ham\n"b,spam\nc,ham\n', {}, r"line 3: a double quote opens .* --data\.quoting none"),
        ("m.csv", 'text,label\na,ham\nb,"', {}, r"line 3: a double quote opens"),
        ("m.csv", "text,label\na,ham\nb, \n", {}, r"row 1 \(counted from 0\) has an empty label"),
        ("m.csv", "text,label\na,ham\n ,ham\n", {}, r"row 1 \(counted from 0\) has an empty text.*empty_text drop"),
        ("m.csv", "text,label\n,h\na,h\n,h\n", {}, r"2 rows \(0, 2; counted from 0\) have an empty text"),
        ("m.csv", "text,label\n" + ",h\n" * 5, {}, r"5 rows \(0, 1, 2, …; counted from 0\) have an empty text"),
        ("m.csv", "text,label\n,h\n,s\n", {"empty_text": "drop"}, r"every text is empty"),
        ("m.jsonl", '{"text": "a", "label": "x"}\n{"text": "b",\n', {}, r"m\.jsonl, line 2 is not JSON"),
        ("m.jsonl", "[" * 100_000, {}, r"line 1 is not JSON"),
        ("m.jsonl", '["a", "b"]\n', {}, r"line 1 is not a JSON object"),
        ("m.jsonl", '{"text": "a", "lable": "x"}\n', {}, r"line 1 has no column 'label', .*did you mean 'lable'\?"),
        ("m.jsonl", '{"text": ["a"], "label": "x"}\n', {}, r"line 1: column 'text' holds a list"),
        ("m.jsonl", '{"text": "\\ud83d", "label": "x"}\n', {}, r"line 1: column 'text' holds half a character"),
        ("m.jsonl", '{"text": "a", "label": null}\n', {}, r"row 0 \(counted from 0\) has an empty label"),
        ("m.jsonl", '{"text": "a"}\n', HEADERLESS, r"have names, so --data\.text_column cannot be 1"),
        ("m.parquet", "PAR1 no it is not PAR1", {}, r"m\.parquet cannot be read as Parquet"),
        ("m.parquet", "", {}, r"m\.parquet cannot be read as Parquet"),
    ],
)  # fmt: skip
def test_refused_in_one_sentence(
    tmp_path: Path, name: str, content: str, options: dict[str, str | int], sentence: str
) -> None:
    with pytest.raises(MessagesError, match=sentence) as caught:
        read(written(tmp_path, name, content), **options)
    assert "\n" not in str(caught.value)


def test_parquet_column_of_lists_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [["a"], ["b"]], "label": ["x", "y"]}), tmp_path / "m.parquet")
    with pytest.raises(MessagesError, match=r"m\.parquet, row 0: column 'text' holds a list"):
        read(tmp_path / "m.parquet")


def test_parquet_cut_short_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "label": ["x", "y"]}), tmp_path / "m.parquet")
    content = (tmp_path / "m.parquet").read_bytes()
    with pytest.raises(MessagesError, match=r"short\.parquet cannot be read as Parquet"):
        read(written(tmp_path, "short.parquet", content[:-20]))


@pytest.mark.parametrize("name", ["m.tsv", "m.csv", "m.jsonl"])
def test_position_of_the_first_byte_that_is_not_utf8(tmp_path: Path, name: str) -> None:
    with pytest.raises(MessagesError, match=r"is not UTF-8: byte 6 \(counted from 0\) is 0xe9; save the file as UTF-8"):
        read(written(tmp_path, name, b"ham\tca\xe9f\n"), encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "position"),
    [
        (b"0123456\xc3\xa9ab\xff", 11),  # a good character across the border of two chunks, then a bad byte
        (b"0123456\xe2\x82", 7),  # the file ends within a character
        (b"0123456\xe2a", 7),  # a character is broken off at the border
        ("é".encode() * 20 + b"\x80", 40),
    ],
)
def test_position_is_right_across_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, position: int
) -> None:
    monkeypatch.setattr(encoding, "CHUNK", 8)
    said = undecodable(DataFile(written(tmp_path, "m.tsv", content), "m.tsv"), "utf-8")
    assert said is not None
    assert f"byte {position} (counted from 0)" in said


def test_good_characters_across_chunks_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CHUNK", 3)
    assert undecodable(DataFile(written(tmp_path, "m.tsv", "aé€👍" * 10), "m.tsv"), "utf-8") is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("source.csv", b"text,label\nhi,ham\nwin\n"),
        ("source.csv", b"text\nhi\n"),
        ("source.csv", b"text,label\n\xc3\xa9\xff\xc3\xa9,ham\n"),
        ("source.csv", b""),
        ("source.jsonl", b"text\n"),
        ("source.parquet", b"PAR1"),
        ("source", b"text,label\n"),
    ],
)
def test_errors_call_the_file_by_its_owners_name(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(MessagesError, match=r"mine\.txt") as caught:
        read(written(tmp_path, name, content), name="mine.txt")
    assert "source" not in str(caught.value)


# The profile


def profiled(messages: pd.DataFrame, left_out: dict[str, int]) -> dict[str, Any]:
    counted = Counted()
    for batch in pa.Table.from_pandas(messages).to_batches():
        counted.add(batch)
    alike = alike_in_memory(messages["text"], messages["label"].tolist(), messages["id"].tolist())
    return profile_messages(counted, alike, left_out)


@pytest.mark.parametrize("rows", [1, 2, 3, 20, 21, 1000])
def test_lengths_are_summed_up_to_the_last_bit_as_numpy_does(rows: int) -> None:
    lengths = np.random.default_rng(rows).geometric(0.01, rows)
    assert spread(Counter(lengths.tolist())) == {
        "min": lengths.min(),
        "median": np.median(lengths),
        "p95": np.percentile(lengths, 95),
        "max": lengths.max(),
        "total": lengths.sum(),
    }


def test_profile_by_hand(tmp_path: Path) -> None:
    file = written(
        tmp_path, "m.csv", "text,label\nHello there,ham\nhello there!,ham\nHello there,spam\n,ham\nyes,ham\n"
    )
    profile = profiled(read(file, empty_text="drop"), {"empty text": 1})
    assert profile == {
        "rows": 4,
        "labels": {"ham": 3, "spam": 1},
        "characters": {"min": 3, "median": 11.0, "p95": pytest.approx(11.85), "max": 12, "total": 37},
        "duplicate_texts": 1,
        "near_duplicate_texts": 2,
        "contradicting_texts": 1,
        "left_out": {"empty text": 1},
        "empty_texts_dropped": 1,
    }
    assert json.loads(json.dumps(profile)) == profile
    assert list(profile["labels"]) == ["ham", "spam"]


# The real file

SMS = {"format": "tsv", **HEADERLESS}


@pytest.mark.data
def test_real_file_without_quoting(sms_file: Path) -> None:
    messages = read(sms_file, quoting="none", **SMS)
    assert messages["label"].value_counts().to_dict() == {"ham": 4827, "spam": 747}
    profile = profiled(messages, {})
    assert profile["rows"] == 5574
    assert profile["labels"] == {"ham": 4827, "spam": 747}
    assert profile["duplicate_texts"] == 403
    assert profile["near_duplicate_texts"] == 487
    assert profile["empty_texts_dropped"] == 0


@pytest.mark.data
def test_real_file_with_quoting_is_what_pandas_reads(sms_file: Path) -> None:
    messages = read(sms_file, quoting="csv", **SMS)
    published = pd.read_csv(sms_file, sep="\t", header=None, names=["label", "text"])
    assert pairs(messages) == list(published.itertuples(index=False, name=None))
    assert messages["label"].value_counts().to_dict() == {"ham": 4825, "spam": 747}


@pytest.mark.data
def test_book_settings_from_file_to_tokens(sms_file: Path, tmp_path: Path) -> None:
    balanced = balance_messages(read(sms_file, quoting="csv", **SMS), method="undersample", seed=123)
    assert balanced.balanced["label"].value_counts().to_dict() == {"ham": 747, "spam": 747}
    assert len(balanced.reserve) == 5572 - 2 * 747
    splits = split_messages(
        balanced.balanced, train=0.7, validation=0.1, test=0.2, seed=123, stratify=False, group_duplicates=False
    )
    assert {name: len(table) for name, table in splits.tables().items()} == {
        "train": 1045,
        "validation": 149,
        "test": 300,
    }
    result, tables = tokenized(
        splits.tables() | {"reserve": balanced.reserve},
        tmp_path / "tokenized",
        labels=splits.labels,
        tokenizer=gpt2_tokenizer(),
        max_length=None,
        context_length=1024,
    )
    assert result.max_length == 120
    assert {name: len(table) for name, table in tables.items()} == {
        "train": 1045,
        "validation": 149,
        "test": 300,
        "reserve": 4078,
    }


def test_csv_module_limit_is_large_enough_for_any_message(tmp_path: Path) -> None:
    read(written(tmp_path, "m.csv", "text,label\na,ham\nb,spam\n"))
    assert csv.field_size_limit() == LONGEST_LINE
