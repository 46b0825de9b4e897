"""The beginning of a long file: whole lines, and no quoted field that is cut off."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from lib.data.inspection.part import beginning
from lib.data.source.data_file import DataFile


def part_of(folder: Path, contents: bytes, size: int, name: str = "a.csv") -> bytes:
    path = folder / name
    path.write_bytes(contents)
    part = beginning(DataFile(path, name), size)
    with part.opened() as source, part.opened_lines() as lines:
        read = source.read()
        assert b"".join(lines) == read
    assert part.head(3) == read[:3]
    return read


@pytest.mark.parametrize(
    ("contents", "size", "part"),
    [
        (b"a,b\nc,d\ne,f\n", 100, b"a,b\nc,d\ne,f\n"),
        (b"a,b\nc,d\ne,f\n", 12, b"a,b\nc,d\ne,f\n"),
        (b"a,b\nc,d\ne,f\n", 10, b"a,b\nc,d\n"),
        (b'a,b\nc,"d\nd\nd"\ne,f\n', 12, b"a,b\n"),  # inside of the quotes is no place to cut
        (b'a,b\n5" tape,d\ne,f\ng,h\n', 20, b'a,b\n5" tape,d\ne,f\n'[:4]),
        (b'"a\nb\nc\nd\ne\nf', 8, b'"a\nb\nc\n'),  # a quote that nothing closes is not waited for
        (b"a,b" * 9, 4, b"a,b" * 9),  # no line end
        (b'{"a": 1}\n{"a": 2}\n', 12, b'{"a": 1}\n'),
        (b'[{"a": 1},\n{"a": 2}]\n', 12, b'[{"a": 1},\n{"a": 2}]\n'),
        (b'{"a":\n1}\n{"a":\n2}\n', 12, b'{"a":\n1}\n{"a":\n2}\n'),
        ("a\tb\nc\td\n".encode("utf-16"), 6, "a\tb\nc\td\n".encode("utf-16")),
    ],
)
def test_the_part(contents: bytes, size: int, part: bytes, tmp_path: Path) -> None:
    assert part_of(tmp_path, contents, size) == part


def test_the_part_of_a_compressed_file_is_of_what_is_in_it(tmp_path: Path) -> None:
    assert part_of(tmp_path, gzip.compress(b"a,b\nc,d\ne,f\n"), 10, "a.csv.gz") == b"a,b\nc,d\n"
