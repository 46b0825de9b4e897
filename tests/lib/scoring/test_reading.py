"""Rows out of every format: texts, the reasons of rows without one, and files that cannot be read at all."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.errors import MessagesError, SourceError
from lib.scoring.inputs import InputFile, files_passed_over, find_inputs
from lib.scoring.reading import check_file, count_rows, read_rows
from lib.scoring.rows import Columns, Row
from lib.text.tokenizer import LONGEST_TEXT

WITH_ID = Columns("text", "id")


def zstd(content: bytes) -> bytes:
    packed: bytes = pa.Codec("zstd").compress(content, asbytes=True)
    return packed


def written(folder: Path, name: str, content: bytes | str) -> InputFile:
    """An input file of this name and content."""
    path = folder / name
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    (file,) = find_inputs([str(path)], format=None, without=folder / "out")
    return file


def told(rows: list[Row]) -> list[tuple[int, int | None, str | None, str | None]]:
    """Of each row its number, line, id, and its text or in brackets the reason why there is none."""
    return [(row.number, row.line, row.id, row.text or f"[{row.reason}]") for row in rows]


JSON_LINES = [
    b'{"id": 1, "text": "hello"}',
    b"",
    b'{"id": "x", "text": null}',
    b'{"text": "caf\xe9", "id": 2}',
    b'{"id": 1e5, "text": "half \\ud83d"}',
    b'{"id": 3, "text": 5}',
    b'{"id": 4, "text": ["a"]}',
    b'{"id": "5 \\ud83d"}',
    b"not json",
    b'["text"]',
    b'{"id": null, "text": " \\t"}',
    '{"id": 6, "text": "ende é"}'.encode(),
]
JSON_ROWS = [
    (0, 1, "1", "hello"),
    (1, 3, "x", "[null]"),
    (2, 4, "2", "[not UTF-8]"),
    (3, 5, "1e5", "[not UTF-8]"),
    (4, 6, "3", "[not text]"),
    (5, 7, "4", "[not text]"),
    (6, 8, "5 �", "[no such field]"),
    (7, 9, None, "[not a JSON object]"),
    (8, 10, None, "[not a JSON object]"),
    (9, 11, None, "[empty]"),
    (10, 12, "6", "ende é"),
]


@pytest.mark.parametrize("name", ["m.jsonl", "m.ndjson.gz"])
def test_json_lines_and_why_some_have_no_text(tmp_path: Path, name: str) -> None:
    file = written(tmp_path, name, b"\n".join(JSON_LINES) + b"\n")
    check_file(file, WITH_ID)
    assert told(list(read_rows(file, WITH_ID))) == JSON_ROWS
    assert told(list(read_rows(file, WITH_ID, start=6))) == JSON_ROWS[6:]


DELIMITED = b'\xef\xbb\xbfid,text\n1,"a, ""b""\nc"\n\n2,caf\xe9\n3,x,y\n\xff,last\n5,\n'
DELIMITED_ROWS = [
    (0, 2, "1", 'a, "b"\nc'),
    (1, 5, "2", "[not UTF-8]"),
    (2, 6, None, "[wrong number of fields]"),
    (3, 7, "�", "last"),
    (4, 8, "5", "[empty]"),
]


@pytest.mark.parametrize("name", ["m.csv", "m.csv.gz"])
def test_csv_and_why_some_rows_have_no_text(tmp_path: Path, name: str) -> None:
    file = written(tmp_path, name, DELIMITED)
    check_file(file, WITH_ID)
    assert told(list(read_rows(file, WITH_ID))) == DELIMITED_ROWS
    assert told(list(read_rows(file, WITH_ID, start=3))) == DELIMITED_ROWS[3:]


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf16_is_read(tmp_path: Path, coding: str) -> None:
    file = written(tmp_path, "m.csv", "id,text\n1,café\n".encode(coding))
    check_file(file, WITH_ID)
    assert told(list(read_rows(file, WITH_ID))) == [(0, 2, "1", "café")]


def test_the_contents_of_a_file_tell_what_it_is(tmp_path: Path) -> None:
    for name, content in {
        "list.json": '[{"text": "a"}, {"text": 5}]',
        "data": "id;text\n1;a, b\n",
        "m.csv": "id\ttext\n1\ta, b\n",
    }.items():
        file = written(tmp_path, name, content)
        check_file(file, Columns(quoting=None))
        found = [row.text or row.reason for row in read_rows(file, Columns(quoting=None))]
        assert found == (["a", "not text"] if name == "list.json" else ["a, b"])
    with pytest.raises(MessagesError, match="nor do its contents: add --format with tsv, csv, jsonl or parquet"):
        check_file(written(tmp_path, "notes", "a word\n"), Columns("text"))


def test_tsv_by_position_has_no_header_and_quotes_can_be_text(tmp_path: Path) -> None:
    file = written(tmp_path, "m.tsv", 'ham\t"hello\nspam\twin "now"\n')
    columns = Columns(1, 0, quoting="none")
    assert told(list(read_rows(file, columns))) == [(0, 1, "ham", '"hello'), (1, 2, "spam", 'win "now"')]


def parquet(folder: Path, table: pa.Table, rows: int = 3) -> InputFile:
    pq.write_table(table, folder / "m.parquet", row_group_size=rows)
    (file,) = find_inputs([str(folder / "m.parquet")], format=None, without=folder / "out")
    return file


TEXTS = [b"a", None, b"caf\xe9", b" ", b"e", b"f", "g é".encode()]
PARQUET_ROWS = ["a", "[null]", "[not UTF-8]", "[empty]", "e", "f", "g é"]


@pytest.mark.parametrize("kind", ["binary", "string", "large_string", "dictionary"])
def test_parquet_rows_from_any_kind_of_text_column(tmp_path: Path, kind: str) -> None:
    array = pa.array(TEXTS, pa.binary())
    if kind == "dictionary":
        array = pa.array(["a", None, "caf", " ", "e", "f", "g é"]).dictionary_encode()
    elif kind != "binary":
        # Without a check, as other writers do it.
        array = pa.Array.from_buffers(pa.string(), len(array), array.buffers(), array.null_count)
        array = array if kind == "string" else pa.array(TEXTS, pa.large_binary()).view(pa.large_string())
    file = parquet(tmp_path, pa.table({"id": pa.array(range(7)), "text": array}))
    assert count_rows(file, WITH_ID) == 7
    expected = [(number, None, str(number), text) for number, text in enumerate(PARQUET_ROWS)]
    if kind == "dictionary":
        expected[2] = (2, None, "2", "caf")
    for start in (0, 2, 3, 5, 7):
        assert told(list(read_rows(file, WITH_ID, start=start))) == expected[start:]


def test_a_text_beyond_what_can_be_encoded_is_too_long(tmp_path: Path) -> None:
    file = written(tmp_path, "m.csv", f"text\n{'a' * LONGEST_TEXT}\n{'a' * (LONGEST_TEXT + 1)}\n")
    assert [row.reason for row in read_rows(file, Columns())] == [None, "too long"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("m.csv", "id,txt\n1,a\n", r"m.csv has no column 'text', only 'id', 'txt': set --text_column .* mean 'txt'\?"),
        ("m.jsonl", '{"txt": "a"}\n', "m.jsonl has no column 'text', only 'txt'"),
        ("m.jsonl", "[\n1\n]\n", "m.jsonl has no JSON object in its first lines"),
        ("m.parquet", "id,text\n", "m.parquet cannot be read as Parquet .* finished parts are kept"),
        ("m.csv.gz", b"", None),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused_at_once(
    tmp_path: Path, name: str, content: bytes | str, sentence: str | None
) -> None:
    file = written(tmp_path, name, content)
    if sentence is None:
        check_file(file, Columns())  # an empty file has nothing to be wrong
        return
    with pytest.raises(MessagesError, match=sentence):
        check_file(file, Columns())


def test_a_parquet_column_that_holds_no_text_is_refused(tmp_path: Path) -> None:
    file = parquet(tmp_path, pa.table({"text": [1, 2], "body": ["a", "b"]}))
    with pytest.raises(MessagesError, match="column 'text' holds int64, not text: set --text_column"):
        check_file(file, Columns())
    with pytest.raises(MessagesError, match="the columns of this format have names, so --text_column cannot be 1"):
        check_file(file, Columns(1))


def test_damage_further_on_comes_after_the_rows_before_it(tmp_path: Path) -> None:
    unclosed = read_rows(written(tmp_path, "m.csv", 'text\na\n"b\nc\n'), Columns())
    assert next(unclosed).text == "a"
    with pytest.raises(MessagesError, match=r"m.csv, line 3: a double quote opens .* --quoting none"):
        next(unclosed)
    content = gzip.compress(b"text\n" + b"hello\n" * 100_000)
    (tmp_path / "cut.csv.gz").write_bytes(content[: len(content) // 2])
    (cut,) = find_inputs([str(tmp_path / "cut.csv.gz")], format=None, without=tmp_path / "out")
    with pytest.raises(MessagesError, match=r"cut.csv.gz cannot be read as gzipped CSV"):
        list(read_rows(cut, Columns()))


@pytest.mark.parametrize("name", ["m.csv", "m.csv.bz2", "m.csv.gz"])
@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstd])
def test_what_is_compressed_is_told_by_its_bytes(tmp_path: Path, name: str, compress: Callable[[bytes], bytes]) -> None:
    (tmp_path / name).write_bytes(compress(b"text\nhello\n") + compress(b"bye\n"))
    (file,) = find_inputs([str(tmp_path / name)], format=None, without=tmp_path / "out")
    assert [row.text for row in read_rows(file, Columns())] == ["hello", "bye"]


def test_a_web_page_among_the_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(MessagesError, match=r"m.csv' is a web page"):
        check_file(written(tmp_path, "m.csv", "<!doctype html>\n<title>Sign in</title>"), Columns())


# -- which files ----------------------------------------------------------------------------------------------


def test_files_folders_and_patterns_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["in/b.csv", "in/a.jsonl.gz", "in/deep/c.parquet", "in/.hidden.csv", "in/_old/d.csv", "in/notes.md"]
    for name in [*names, "in/out/scored/part.parquet", "e.tsv"]:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    found = find_inputs(["in/*.csv", "in", "e.tsv"], format=None, without=Path("in/out"))
    assert [(file.name, file.format) for file in found] == [
        ("in/b.csv", "csv"),
        ("in/a.jsonl.gz", "jsonl"),
        ("in/deep/c.parquet", "parquet"),
        ("e.tsv", "tsv"),
    ]
    only = find_inputs(["in"], format="csv", without=Path("in/out"))
    assert [file.name for file in only] == ["in/b.csv"]
    (forced,) = find_inputs(["in/notes.md"], format="csv", without=Path("out"))
    assert forced.format == "csv"


def test_other_files_of_a_folder_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["in/a.csv", "in/notes.xlsx", "in/deep/e.zip", "in/.~lock.a.csv#", "in/_SUCCESS", "in/out/x.md", "b.md"]
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    found = find_inputs(["in", "in/*.csv"], format=None, without=Path("in/out"))
    assert files_passed_over(["in", "in/*.csv"], found, without=Path("in/out")) == ["in/notes.xlsx", "in/deep/e.zip"]


def test_an_inbox_as_it_is_leaves_nothing_out_in_silence(tmp_path: Path) -> None:
    inbox = Path(__file__).parents[3].parent / "shared" / "cases" / "39-inbox" / "inbox"
    if not inbox.is_dir():
        pytest.skip("needs ../shared/cases/39-inbox")
    found = find_inputs([str(inbox)], format=None, without=tmp_path)
    names = {file.path.name for file in found}
    left = {Path(name).name for name in files_passed_over([str(inbox)], found, without=tmp_path)}
    assert {"a.csv", "B.TSV", "c.jsonl.gz", "d.parquet", "old.csv.bz2", "zero.csv", "header-only.csv"} <= names
    assert "e.zip" in left
    assert names | left == {path.name for path in inbox.iterdir() if path.name[0] not in "._"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("nothing.csv", "nothing.csv does not exist"),
        ("*.nothing", "no file fits the pattern"),
        (".", r"\. has no file to score: names must end with"),
    ],
)
def test_what_stands_for_no_file_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=sentence):
        find_inputs([given], format=None, without=Path("out"))


def test_a_name_that_tells_no_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "messages").touch()
    with pytest.raises(MessagesError, match="add --format with tsv, csv, jsonl or parquet"):
        find_inputs([str(tmp_path / "messages")], format=None, without=tmp_path / "out")
