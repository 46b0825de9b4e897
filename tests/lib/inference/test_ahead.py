"""Working ahead keeps the order and the place of errors, and reads no more than it needs."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from lib.inference.ahead import PREPARED, in_threads, one_ahead


def counted(most: int, seen: list[int], *, fails: bool = False) -> Iterator[int]:
    for number in range(most):
        seen.append(number)
        yield number
    if fails:
        raise ValueError("the file ends early")


def refuse_three(number: int) -> int:
    if number == 3:
        raise LookupError(number)
    return number


def test_results_come_in_order_from_threads() -> None:
    workers: set[int] = set()

    def square(number: int) -> int:
        workers.add(threading.get_ident())
        return number * number

    assert list(in_threads(range(50), square)) == [number * number for number in range(50)]
    assert threading.get_ident() not in workers


def test_no_more_is_read_than_is_needed() -> None:
    seen: list[int] = []
    results = in_threads(counted(50, seen), str)
    assert next(results) == "0"
    assert len(seen) == PREPARED
    results.close()  # type: ignore[attr-defined]
    assert len(seen) == PREPARED
    seen.clear()
    assert next(one_ahead(counted(50, seen))) == 0
    assert seen == [0, 1]
    assert list(one_ahead(range(3))) == [0, 1, 2]


def test_an_error_comes_after_the_results_before_it() -> None:
    texts = one_ahead(in_threads(counted(2, [], fails=True), str))
    assert [next(texts), next(texts)] == ["0", "1"]
    with pytest.raises(ValueError, match="ends early"):
        next(texts)
    for results in (one_ahead(in_threads(range(50), refuse_three)), one_ahead(map(refuse_three, range(50)))):
        assert [next(results), next(results), next(results)] == [0, 1, 2]
        with pytest.raises(LookupError, match="3"):
            next(results)
