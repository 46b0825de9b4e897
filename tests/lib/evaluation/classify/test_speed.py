"""How fast classifiers answer: who is asked what, and what the figures are, by a clock of the test's own."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from lib.evaluation.classify import speed
from lib.evaluation.classify.speed import MOST_ALONE, ROUNDS, Classify, evenly, measure_speed
from lib.model.labels import Probabilities
from lib.text.windows import Texts


class Machine:
    """A machine on which time passes only in its classifiers, and which something else disturbs now and then."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[tuple[str, int]] = []

    def classifier(self, name: str, *, a_call: float, a_text: float, disturbed: range = range(0)) -> Classify:
        def classify(texts: Texts) -> Probabilities:
            slower = 10 if len(self.asked) in disturbed else 1
            self.asked.append((name, len(texts)))
            self.now += slower * (a_call + a_text * len(texts))
            return np.ones((len(texts), 2)) / 2

        return classify


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(speed, "perf_counter", lambda: made.now)
    return made


TEXTS = [[1] * length for length in range(1, 101)]


def test_figures_by_hand(machine: Machine) -> None:
    slow = machine.classifier("slow", a_call=0.0, a_text=0.01)
    fast = machine.classifier("fast", a_call=0.001, a_text=0.001)
    found = measure_speed({"slow": slow, "fast": fast}, TEXTS)
    assert astuple(found["slow"]) == pytest.approx((100, 10))
    assert astuple(found["fast"]) == pytest.approx((16 / 0.017, 2))  # 16 texts: what `slow` does in 0.16 s


def test_they_take_turns_and_a_disturbed_round_does_not_count(machine: Machine) -> None:
    before = 2 + 2 * 5  # calls: each is warmed up, then doubles its texts from 1 to 16
    one = machine.classifier("one", a_call=0.0, a_text=0.01, disturbed=range(before, before + 12))  # the first round
    found = measure_speed({"one": one, "other": machine.classifier("other", a_call=0.0, a_text=0.01)}, TEXTS)
    assert astuple(found["one"]) == astuple(found["other"]) == pytest.approx((100, 10))
    rounds = machine.asked[-2 * ROUNDS * (1 + MOST_ALONE) :]
    assert [name for name, texts in rounds if texts > 1] == ["one", "other"] * ROUNDS


def test_one_slow_text_is_measured_and_nothing_is_an_error(machine: Machine) -> None:
    found = measure_speed({"huge": machine.classifier("huge", a_call=0.0, a_text=3.0)}, TEXTS)
    assert astuple(found["huge"]) == pytest.approx((1 / 3, 3000))
    assert len(machine.asked) == 2 + 2 * ROUNDS
    with pytest.raises(ValueError, match="nothing to measure"):
        measure_speed({}, TEXTS)
    with pytest.raises(ValueError, match="nothing to measure"):
        measure_speed({"huge": machine.classifier("huge", a_call=0.0, a_text=3.0)}, [])


def test_texts_are_chosen_evenly_by_length() -> None:
    assert [len(text) for text in evenly(TEXTS, 5)] == [11, 31, 51, 71, 91]
    assert [len(text) for text in evenly(TEXTS[:3], 5)] == [1, 2, 3]
