"""Whether texts share turns: by what is measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from flows.http import measuring
from flows.http.batching import Manner
from flows.http.measuring import TEXTS, Measured, measure
from lib.inference.predictor import Prediction


class Costly:
    """Takes time, as the measurement's own clock has it: so many seconds a call, and so many a text."""

    def __init__(self, call: float, text: float) -> None:
        self.call, self.text, self.now = call, text, 0.0

    def clock(self) -> float:
        return self.now

    def predict(self, texts: Iterable[str]) -> Iterator[Prediction]:
        texts = list(texts)
        self.now += self.call + self.text * len(texts)
        return iter([Prediction("a", {"a": 1.0})] * len(texts))


@pytest.mark.parametrize(("call", "text", "pays"), [(0.01, 0.001, True), (0.0001, 0.01, False), (5.0, 1.0, True)])
def test_sharing_pays_where_a_call_costs_more_than_a_text(
    call: float, text: float, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Costly(call, text)
    monkeypatch.setattr(measuring, "perf_counter", predictor.clock)
    measured = measure(predictor)
    assert measured.alone == pytest.approx(len(TEXTS) * (call + text))
    assert measured.together == pytest.approx(call + len(TEXTS) * text)
    assert measured.pays == pays
    assert measured.manner(0.5) == Manner(pays, 0.5, measured.together / len(TEXTS))


def test_what_was_measured_is_said() -> None:
    assert str(Measured(0.0051, 0.0012)) == (
        "8 texts take 1.2 ms together and 5.1 ms alone, so requests that wait share a turn"
    )
    assert str(Measured(0.04, 0.038)).endswith("so each request has a turn of its own")
