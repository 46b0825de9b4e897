"""What a file is, told by its first bytes, and what is said of files that have no data."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest

from lib.data.source.kinds import HEAD_BYTES, head_of, kind_of, refuse_no_data
from lib.errors import ArchiveError, MessagesError

TEXT = b"text,label\nhello,ham\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign\n in</title></head><body>Please</body></html>\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab12\nsize 146946961\n"


def zipped(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, b"application/vnd.oasis.opendocument.spreadsheet" if name == "mimetype" else TEXT)
    return packed.getvalue()


def tarred(name: str, format: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=format) as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return packed.getvalue()


def workbook() -> bytes:
    written = io.BytesIO()
    pd.DataFrame({"text": ["hello"]}).to_excel(written, index=False)
    return written.getvalue()


def parquet() -> bytes:
    written = io.BytesIO()
    pd.DataFrame({"text": ["hello"]}).to_parquet(written)
    return written.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        pytest.param(TEXT, "other", id="text"),
        pytest.param(b"", "other", id="nothing"),
        pytest.param(b"BZh is how a text may begin, or BZh91", "other", id="text like bzip2"),
        pytest.param(bytes(1024), "other", id="zeros"),
        pytest.param(gzip.compress(TEXT), "gzip", id="gzip"),
        pytest.param(bz2.compress(TEXT), "bzip2", id="bzip2"),
        pytest.param(bz2.compress(b""), "bzip2", id="bzip2 of nothing"),
        pytest.param(lzma.compress(TEXT), "xz", id="xz"),
        pytest.param(pa.Codec("zstd").compress(TEXT, asbytes=True), "zstd", id="zstd"),
        pytest.param(zipped("a.csv"), "zip", id="zip"),
        pytest.param(zipped(), "zip", id="empty zip"),
        pytest.param(tarred("a.csv", tarfile.PAX_FORMAT), "tar", id="tar"),
        pytest.param(tarred("ä.csv", tarfile.GNU_FORMAT), "tar", id="tar by GNU"),
        pytest.param(workbook(), "workbook", id="openpyxl's workbook"),
        pytest.param(zipped("[Content_Types].xml", "xl/workbook.xml"), "workbook", id="Excel's workbook"),
        pytest.param(zipped("xl/drawings/drawing1.xml"), "workbook", id="Google's workbook"),
        pytest.param(zipped("mimetype", "content.xml"), "workbook", id="LibreOffice's workbook"),
        pytest.param(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), "workbook", id="old workbook"),
        pytest.param(parquet(), "parquet", id="parquet"),
    ],
)
def test_a_kind_is_told_by_the_first_bytes(content: bytes, kind: str) -> None:
    assert kind_of(content) == kind


def test_the_head_is_read_from_the_beginning_and_the_file_is_rewound() -> None:
    source = io.BytesIO(bytes(HEAD_BYTES) + b"more")
    source.seek(7)
    assert head_of(source) == bytes(HEAD_BYTES)
    assert source.tell() == 0


def refused(content: bytes) -> str:
    with pytest.raises((MessagesError, ArchiveError)) as caught:
        refuse_no_data(content, "train.csv")
    return str(caught.value)


@pytest.mark.parametrize(
    "page",
    [
        PAGE,
        b"\xef\xbb\xbf\n " + PAGE,
        b"<HTML lang=en>hello",
        b"<!-- a -->\n<!-- b -->\n<!doctype HTML>",
        PAGE[:40],
    ],
)
def test_a_web_page_is_named(page: bytes) -> None:
    assert refused(page).startswith("'train.csv' is a web page")


def test_a_web_page_is_shown_by_its_title() -> None:
    assert refused(PAGE) == (
        "'train.csv' is a web page ('Sign in'), not data: the address may want you to sign in, or lead to a page about"
        " the file: open it in a browser, fetch the file there and point data.url at it"
    )
    assert len(refused(PAGE.replace(b"Sign", b"Sign" * 1000))) < 400


@pytest.mark.parametrize("pointer", [POINTER, POINTER.replace(b"oid", b"ext-0-foo sha256:12\noid"), POINTER.rstrip()])
def test_a_git_lfs_pointer_is_named_with_the_size_of_its_file(pointer: bytes) -> None:
    assert refused(pointer) == (
        "'train.csv' is a Git LFS pointer to a file of 146.9 MB, not the file: run `git lfs pull` in its repository, or"
        " fetch the file from the repository's page"
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"error": "Not Found"}', "Not Found"),
        (b'{\n "error": {"code": 403, "message": "no"}\n}\n', '{"error": {"code": 403, "message": "no"}}'),
        (b'{"message":"Not Found","documentation_url":"https://docs.github.com","status":"404"}', "Not Found"),
        (b'{"detail":"Not authenticated"}', "Not authenticated"),
        (b'{"timestamp":"2026","status":404,"error":"Not Found","path":"/a.csv"}', "Not Found"),
        (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code><Message>no</Message></Error>', "AccessDenied"),
    ],
)
def test_an_error_message_of_a_server_is_named(answer: bytes, said: str) -> None:
    assert refused(answer) == (
        f"'train.csv' is an error message of a server ({said}), not data: check the address, and whether it wants you"
        " to sign in, and fetch the file again"
    )


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"%PDF-1.7\n", "a PDF document"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"\x80\x04\x95", "a Python pickle, which can run any code when it is opened"),
        (zipped("[Content_Types].xml", "word/document.xml"), "a Word document"),
        (zipped("_rels/.rels", "ppt/presentation.xml"), "a PowerPoint presentation"),
    ],
)
def test_files_without_a_table_are_named(content: bytes, kind: str) -> None:
    assert refused(content) == (
        f"'train.csv' is {kind}, which is not read here: save the data as CSV, JSON Lines or Parquet"
    )


def test_an_arrow_file_is_named() -> None:
    written = io.BytesIO()
    pyarrow.feather.write_feather(pd.DataFrame({"text": ["hello"]}), written)
    assert "is an Arrow (Feather) file" in refused(written.getvalue())


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        b"",
        b"text,label\n<html>hello</html>,ham\n",
        b"<b>hello</b>\tham\n<html>\tspam\n",
        b"<p>html</p>\tham\n",
        b'{"text": "hello", "label": "ham"}\n',
        b'{"text": "no such file", "error": "yes"}\n',
        b'{"message": "hello", "type": "ham"}\n',
        b'{"error": "a"}\n{"error": "b"}\n',
        b'[{"error": "a"}]',
        b"{" * 100_000,
        b"version 2\nsize 3\n",
        b"version https://git-lfs.github.com/spec/v1\nis how a pointer begins\n",
    ],
)
def test_data_is_let_through(content: bytes) -> None:
    refuse_no_data(content[:HEAD_BYTES], "train.csv")
