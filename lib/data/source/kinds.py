"""Tells by a file's first bytes what it is, whatever it is called; names what holds no data."""

from __future__ import annotations

import json
import re
import tarfile
from typing import IO, Literal

from lib.errors import ArchiveError, MessagesError

Compression = Literal["gzip", "bzip2", "xz", "zstd"]
Kind = Literal[Compression, "zip", "tar", "workbook", "parquet", "other"]

HEAD_BYTES = 64 * 2**10  # that decide; an error message of a server has fewer in all

COMPRESSIONS: dict[bytes, Compression] = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
BZIP2_BLOCKS = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")  # pi or its root, 4 bytes in: a text may begin with "BZh"
PARQUET = b"PAR1"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the first entry; the directory of an empty archive
OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # .xls, and workbooks with a password
OFFICE = ("[Content_Types].xml", "_rels/", "docProps/", "customXml/", "xl/", "word/", "ppt/")  # of the first entry
OPEN_SHEET = b"application/vnd.oasis.opendocument.spreadsheet"  # LibreOffice's, in the first entry, "mimetype"
LOCAL_HEADER_BYTES = 30  # of a zip entry, before its name (APPNOTE.TXT 4.3.7)

FOREIGN_ARCHIVES = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x1f\x9d": "a file of Unix compress",
    b"\x04\x22\x4d\x18": "an LZ4 file",
}
FOREIGN_FILES = {
    b"%PDF-": "a PDF document",
    b"{\\rtf": "an RTF document",
    b"SQLite format 3\0": "an SQLite database",
    b"ARROW1\0\0": "an Arrow (Feather) file",
    b"Obj\x01": "an Avro file",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
}
PICKLE = re.compile(rb"\x80[\x02-\x05]")  # and its protocol: no text begins so
PAGE = re.compile(rb"(<!--.*?-->\s*)*<(!doctype\s+html|html)[\s>]", re.IGNORECASE | re.DOTALL)
TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?size (\d+)\s*\Z")
XML_ERROR = re.compile(rb"(<\?xml[^>]*>\s*)?<Error>.*?<Code>(?P<code>.*?)</Code>", re.DOTALL)
# The fields of servers' error messages; a message has one of the first, and none but these.
ERROR_FIELDS = {"error", "errors", "detail", "documentation_url", "error_code", "statusCode", "status_code"}
OTHER_FIELDS = {"code", "details", "message", "msg", "path", "request_id", "requestId", "status", "success"} | {
    *("timestamp", "title", "type", "error_description", "instance")
}
LONGEST_SHOWN = 80  # characters of what a page or a server says


def head_of(source: IO[bytes]) -> bytes:
    """Reads the first bytes, at most HEAD_BYTES, and rewinds `source`."""
    source.seek(0)
    head = source.read(HEAD_BYTES)
    source.seek(0)
    return head


def kind_of(head: bytes) -> Kind:
    """Tells what a file is that begins with `head`: compressed, an archive, a workbook of any office program, Parquet,
    or something else, such as text."""
    if head.startswith(ZIP):
        return "workbook" if _is_workbook(head) else "zip"
    if (compression := compression_in(head)) is not None:
        return compression
    if head.startswith(OLD_OFFICE):
        return "workbook"
    if head.startswith(PARQUET):
        return "parquet"
    return "tar" if _is_tar(head) else "other"


def compression_in(head: bytes) -> Compression | None:
    """Tells how a file is compressed that begins with `head`; None: not at all."""
    for magic, compression in COMPRESSIONS.items():
        if head.startswith(magic) and (compression != "bzip2" or head[4:].startswith(BZIP2_BLOCKS)):
            return compression
    return None


def refuse_no_data(head: bytes, name: str) -> None:
    """Raises ArchiveError for an archive, and MessagesError for a file, that is known and not read here; MessagesError
    too for what comes in place of data: a web page, a Git LFS pointer, a server's error message."""
    for magic, what in FOREIGN_ARCHIVES.items():
        if head.startswith(magic):
            raise ArchiveError(
                f"{name!r} is {what}, which is not read here: unpack it yourself, or pack the data file as zip or gzip"
            )
    if kind := _foreign(head):
        raise MessagesError(f"{name!r} is {kind}, which is not read here: save the data as CSV, JSON Lines or Parquet")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if PAGE.match(start):
        raise MessagesError(
            f"{name!r} is a web page{_titled(start)}, not data: the address may want you to sign in, or lead to a page"
            " about the file: open it in a browser, fetch the file there and point data.url at it"
        )
    if pointer := POINTER.match(start):
        raise MessagesError(
            f"{name!r} is a Git LFS pointer to a file of {int(pointer[1]) / 1e6:,.1f} MB, not the file: run"
            " `git lfs pull` in its repository, or fetch the file from the repository's page"
        )
    said = _server_error(start)
    if said is not None:
        raise MessagesError(
            f"{name!r} is an error message of a server ({said}), not data: check the address, and whether it wants you"
            " to sign in, and fetch the file again"
        )


def _is_workbook(head: bytes) -> bool:
    """Whether a zip archive's first entry is one of a workbook."""
    length = int.from_bytes(head[26:28], "little")
    first = head[LOCAL_HEADER_BYTES : LOCAL_HEADER_BYTES + length].decode("utf-8", "replace")
    if first == "mimetype":
        return OPEN_SHEET in head[:200]
    return first.startswith(OFFICE) and _document(head) is None


def _document(head: bytes) -> str | None:
    """Names another office document than a workbook by the entries of its zip archive."""
    if not head.startswith(ZIP):
        return None
    if b"word/document" in head:
        return "a Word document"
    return "a PowerPoint presentation" if b"ppt/presentation" in head else None


def _is_tar(head: bytes) -> bool:
    """Whether the first block is a header: it says so, or (before POSIX) its checksum is right."""
    if head[257:262] == b"ustar":
        return True
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _foreign(head: bytes) -> str | None:
    known = next((what for magic, what in FOREIGN_FILES.items() if head.startswith(magic)), None)
    if known is None and PICKLE.match(head):
        return "a Python pickle, which can run any code when it is opened"
    return known or _document(head)


def _titled(page: bytes) -> str:
    title = TITLE.search(page)
    return f" ({_shown(title[1].decode('utf-8', 'replace'))!r})" if title and title[1].strip() else ""


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def _server_error(start: bytes) -> str | None:
    """Returns what a server's error message says, in XML or as one JSON object; None if it is no such message."""
    if found := XML_ERROR.match(start):
        return _shown(found["code"].decode("utf-8", "replace"))
    if not start.startswith(b"{"):
        return None
    try:
        told = json.loads(start)
    except (ValueError, RecursionError):  # also whatever follows the object, such as a second line
        return None
    if not ERROR_FIELDS & told.keys() or told.keys() - ERROR_FIELDS - OTHER_FIELDS:
        return None
    said = next(
        (value for name in ("error", "message", "detail", *told) if isinstance(value := told.get(name), str)), ""
    )
    return _shown(said or json.dumps(told))
