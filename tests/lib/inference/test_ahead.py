"""Reading ahead keeps order and errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from lib.inference.ahead import AHEAD, ahead


def counted(most: int, seen: list[int], *, fails: bool = False) -> Iterator[int]:
    for number in range(most):
        seen.append(number)
        yield number
    if fails:
        raise ValueError("the file ends early")


def test_results_come_in_order_from_one_thread() -> None:
    users: set[int] = set()

    def use(number: int) -> int:
        users.add(threading.get_ident())
        return number

    assert list(ahead(range(50), lambda number: number * number, use)) == [number * number for number in range(50)]
    assert len(users) == 1
    assert users != {threading.get_ident()}


def test_no_more_is_read_than_is_needed() -> None:
    seen: list[int] = []
    results = ahead(counted(50, seen), str, str)
    assert next(results) == "0"
    assert len(seen) == AHEAD + 1
    results.close()  # type: ignore[attr-defined]
    assert len(seen) == AHEAD + 1


def test_an_error_comes_after_the_results_before_it() -> None:
    results = ahead(counted(2, [], fails=True), str, str)
    assert [next(results), next(results)] == ["0", "1"]
    with pytest.raises(ValueError, match="ends early"):
        next(results)

    def refuse(number: int) -> int:
        if number == 3:
            raise LookupError(number)
        return number

    for prepare, use in ((refuse, int), (int, refuse)):
        results = ahead(range(50), prepare, use)
        assert [next(results), next(results), next(results)] == [0, 1, 2]
        with pytest.raises(LookupError, match="3"):
            next(results)
