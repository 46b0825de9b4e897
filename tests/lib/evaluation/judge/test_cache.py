"""Replies on disk: found by exactly what was asked, whole whatever happens."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib.errors import StoreError
from lib.evaluation.judge.cache import ReplyCache

ASKED = {"model": "llama3", "options": {"seed": 123, "temperature": 0}, "messages": [{"role": "user", "content": "é?"}]}


def test_a_reply_is_found_by_what_was_asked_in_any_order_of_keys(tmp_path: Path) -> None:
    ReplyCache(tmp_path / "new" / "folder").keep(ASKED, "85\n")
    cache = ReplyCache(tmp_path / "new" / "folder")
    assert cache.find({name: ASKED[name] for name in reversed(ASKED)}) == "85\n"
    assert cache.find({**ASKED, "model": "llama3.1"}) is None
    assert cache.find({**ASKED, "options": {"seed": 123, "temperature": 1}}) is None


def test_any_text_comes_back_as_it_was(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path)
    for text in ("", "85 ✓ \u2028", "half \ud83d", '{"reply": "1"}'):
        asked = {"messages": text}
        cache.keep(asked, text)
        assert cache.find(asked) == text


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"{}", b'{"asked": 1, "reply": 85}'])
def test_what_is_no_reply_is_none_and_is_told(tmp_path: Path, warnings_heard: list[str], content: bytes) -> None:
    cache = ReplyCache(tmp_path, warnings_heard.append)
    cache.keep(ASKED, "85")
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert cache.find(ASKED) is None
    assert len(warnings_heard) == 1
    assert str(file) in warnings_heard[0]


def test_many_writers_leave_one_whole_file(tmp_path: Path, warnings_heard: list[str]) -> None:
    replies = [str(number) * 20_000 for number in range(8)]

    def work(reply: str) -> set[str | None]:
        cache = ReplyCache(tmp_path, warnings_heard.append)
        seen = set()
        for _ in range(25):
            cache.keep(ASKED, reply)
            seen.add(cache.find(ASKED))
        return seen

    with ThreadPoolExecutor(len(replies)) as threads:
        seen = set().union(*threads.map(work, replies))
    assert seen <= set(replies)
    assert warnings_heard == []
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_said_and_leaves_no_part(small_disk: Path) -> None:
    cache = ReplyCache(small_disk)
    cache.keep(ASKED, "85")
    with pytest.raises(StoreError, match="No space left"):
        cache.keep(ASKED, "8" * 2**21)
    assert cache.find(ASKED) == "85"
    assert len(list(small_disk.iterdir())) == 1
