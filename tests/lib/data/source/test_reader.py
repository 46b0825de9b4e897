"""One reader for every file: what it is found out to be, and its rows with what cannot be read among them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib.data.source.data_file import DataFile
from lib.data.source.reader import How, open_source, read
from lib.errors import MessagesError

TEXT = {"--data.text_column": "text"}


def written(folder: Path, name: str, content: bytes | str, longest: int = 2**20) -> DataFile:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return DataFile(file, name, longest)


def test_one_endless_line_does_not_fill_the_memory(tmp_path: Path) -> None:
    endless = written(tmp_path, "m.jsonl", json.dumps([{"text": "a"}] * 100), longest=100)
    with pytest.raises(MessagesError, match="line 1 is longer than 100 bytes"):
        list(open_source(endless, How(), TEXT).batches(TEXT))
    lost_quote = written(tmp_path, "m.csv", 'text\n"a\n' + "another line\n" * 100, longest=100)
    with pytest.raises(MessagesError, match=r"line 2: a field cannot be read .* double quote"):
        list(read(lost_quote, How(), open_source(lost_quote, How(quoting="csv"), TEXT).batches(TEXT)))
