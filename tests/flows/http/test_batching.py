"""Turns: who is classified with whom, and when."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.http.batching import LEAST, MOST, Manner, Turns, fair_shares
from lib.inference.predictor import Prediction, Predictor
from tests.support.saved import save_family_classifier, save_gpt2_classifier, write_weights

ENDLESS = 3600.0  # seconds that no test waits for
SLOW = Manner(text_seconds=1.0)  # so that a turn has a thread


class Echo:
    """Predicts each text as its own label, and keeps what each turn had; a turn waits while the gate is closed."""

    def __init__(self) -> None:
        self.turns: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()

    def predict(self, texts: Iterable[str]) -> Iterator[Prediction]:
        texts = list(texts)
        self.turns.append(texts)
        assert self.gate.wait(60)
        for text in texts:
            if text == "bad":
                raise ValueError(text)
            yield Prediction(text, {text: 1.0})


async def begun(predictor: Echo, turns: int) -> None:
    """Returns when so many turns have begun."""
    while len(predictor.turns) < turns:
        await asyncio.sleep(0)


async def labels(turns: Turns, predictor: Echo, texts: Sequence[str]) -> list[str]:
    return [prediction.label for prediction in await turns.predictions(predictor, texts)]


async def behind_a_turn(turns: Turns, predictor: Echo, *requests: Sequence[str]) -> list[Any]:
    """The labels of each request, or how it failed; all of them come while a turn with the text "first" runs."""
    predictor.gate.clear()
    first = asyncio.create_task(labels(turns, predictor, ["first"]))
    await begun(predictor, 1)
    tasks = [asyncio.create_task(labels(turns, predictor, texts)) for texts in requests]
    await asyncio.sleep(0)
    predictor.gate.set()
    assert await first == ["first"]
    return await asyncio.gather(*tasks, return_exceptions=True)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def test_requests_that_wait_are_classified_together_and_each_has_its_own_answer() -> None:
    predictor = Echo()
    answers = run(behind_a_turn(Turns(SLOW), predictor, ["a"], ["bb", "c"], ["d"]))
    assert answers == [["a"], ["bb", "c"], ["d"]]
    first, together = predictor.turns
    assert (first, sorted(together)) == (["first"], ["a", "bb", "c", "d"])


def test_where_it_does_not_pay_each_is_classified_alone() -> None:
    predictor = Echo()
    answers = run(behind_a_turn(Turns(replace(SLOW, together=False)), predictor, ["a"], ["bb"]))
    assert answers == [["a"], ["bb"]]
    assert predictor.turns == [["first"], ["a"], ["bb"]]


def test_the_manner_can_change() -> None:
    predictor, turns = Echo(), Turns(SLOW)
    turns.change(replace(SLOW, together=False))
    run(behind_a_turn(turns, predictor, ["a"], ["b"]))
    assert predictor.turns == [["first"], ["a"], ["b"]]


def test_versions_never_share_a_turn() -> None:
    one, other = Echo(), Echo()

    async def work() -> None:
        turns = Turns(SLOW)
        one.gate.clear()
        tasks = [asyncio.create_task(labels(turns, one, ["a"]))]
        await begun(one, 1)
        tasks += [asyncio.create_task(labels(turns, each, [text])) for each, text in ((one, "b"), (other, "c"))]
        await asyncio.sleep(0)
        one.gate.set()
        assert await asyncio.gather(*tasks) == [["a"], ["b"], ["c"]]

    run(work())
    assert (one.turns, other.turns) == ([["a"], ["b"]], [["c"]])


def test_a_single_text_need_not_wait_for_ten_thousand() -> None:
    predictor = Echo()

    async def work() -> None:
        turns = Turns(SLOW)
        predictor.gate.clear()
        large = asyncio.create_task(labels(turns, predictor, [f"{number:05}" for number in range(10_000)]))
        await begun(predictor, 1)
        single = asyncio.create_task(labels(turns, predictor, ["single"]))
        await asyncio.sleep(0)
        predictor.gate.set()
        assert await single == ["single"]
        assert not large.done()
        assert len(predictor.turns[0]) == LEAST  # the time of a text, as it was told, allows no more
        assert "single" in predictor.turns[1]
        assert await large == [f"{number:05}" for number in range(10_000)]
        assert max(map(len, predictor.turns)) == MOST  # as it was measured, it does

    run(work())


def test_a_large_request_is_cut_into_texts_of_similar_length() -> None:
    predictor = Echo()
    texts = ["a" * (1 + number * 37 % 500) for number in range(500)]
    assert run(labels(Turns(Manner(text_seconds=1e-9)), predictor, texts)) == texts
    lengths = [[len(text) for text in turn] for turn in predictor.turns]
    assert all(max(before) <= min(after) for before, after in itertools.pairwise(lengths))


def test_what_fails_in_one_request_harms_no_other() -> None:
    predictor = Echo()
    good, bad, fine = run(behind_a_turn(Turns(SLOW), predictor, ["a"], ["bad"], ["c"]))
    assert (good, fine) == (["a"], ["c"])
    assert isinstance(bad, ValueError)


def test_what_nobody_waits_for_is_not_classified() -> None:
    predictor = Echo()

    async def work() -> None:
        turns = Turns(SLOW)
        predictor.gate.clear()
        first = asyncio.create_task(labels(turns, predictor, ["first"]))
        await begun(predictor, 1)
        gone, stays = (asyncio.create_task(labels(turns, predictor, [text])) for text in ("gone", "stays"))
        await asyncio.sleep(0)
        gone.cancel()
        predictor.gate.set()
        assert [await first, await stays] == [["first"], ["stays"]]

    run(work())
    assert predictor.turns == [["first"], ["stays"]]


def test_a_turn_waits_for_as_many_requests_as_the_one_before_had() -> None:
    predictor = Echo()

    async def work() -> None:
        turns = Turns(replace(SLOW, delay=ENDLESS))
        predictor.gate.clear()
        tasks = [asyncio.create_task(labels(turns, predictor, ["alone"]))]  # which waits for nobody
        await begun(predictor, 1)
        tasks += [asyncio.create_task(labels(turns, predictor, [text])) for text in "ab"]
        await asyncio.sleep(0)
        predictor.gate.set()
        await asyncio.gather(*tasks)
        one, other = (asyncio.create_task(labels(turns, predictor, [text])) for text in "cd")
        assert [await one, await other] == [["c"], ["d"]]

    run(work())
    assert [sorted(turn) for turn in predictor.turns] == [["alone"], ["a", "b"], ["c", "d"]]


def test_the_delay_is_the_most_that_a_turn_waits() -> None:
    predictor = Echo()

    async def work() -> None:
        turns = Turns(replace(SLOW, delay=0.001))
        assert await behind_a_turn(turns, predictor, ["a"], ["b"]) == [["a"], ["b"]]
        assert await labels(turns, predictor, ["c"]) == ["c"]

    run(work())
    assert predictor.turns[2:] == [["c"]]


def test_a_quick_request_alone_needs_no_thread() -> None:
    threads: list[str] = []

    class Noted(Echo):
        def predict(self, texts: Iterable[str]) -> Iterator[Prediction]:
            threads.append(threading.current_thread().name)
            return super().predict(texts)

    async def work() -> None:
        turns, predictor = Turns(Manner(text_seconds=1e-6)), Noted()
        assert await labels(turns, predictor, ["alone"]) == ["alone"]
        await asyncio.gather(*(labels(turns, predictor, [text]) for text in "ab"))

    run(work())
    assert threads[0] == threading.current_thread().name
    assert threads[1].startswith("classify")


@pytest.mark.parametrize(
    ("wanted", "room", "shares"),
    [
        ([1, 1, 1], 8, [1, 1, 1]),
        ([10_000, 1], 8, [7, 1]),
        ([10_000, 1, 10_000], 8, [3, 1, 4]),
        ([5, 5, 5], 3, [1, 1, 1]),
        ([2, 10_000, 3], 128, [2, 123, 3]),
    ],
)
def test_shares_are_fair(wanted: list[int], room: int, shares: list[int]) -> None:
    assert fair_shares(wanted, room) == shares


@pytest.mark.parametrize("family", ["GPT-2", "BERT", "Llama"])
def test_an_answer_does_not_depend_on_its_neighbours(family: str, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    if family == "GPT-2":
        save_gpt2_classifier(folder)
    else:
        save_family_classifier(family, write_weights(family, tmp_path / "weights"), folder)
    predictor = Predictor.load(folder, device="cpu")
    texts = [f"{'you are a winner ' * (number % 5)}{number}" for number in range(40)]

    async def work() -> tuple[list[list[Prediction]], list[list[Prediction]]]:
        turns = Turns(SLOW)
        alone = [await turns.predictions(predictor, [text]) for text in texts]
        return alone, await asyncio.gather(*(turns.predictions(predictor, [text]) for text in texts))

    alone, together = run(work())
    for (one,), (other,) in zip(alone, together, strict=True):
        assert one.label == other.label
        assert one.probabilities == pytest.approx(other.probabilities, abs=3e-6)
