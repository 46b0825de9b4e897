"""Measures whether classifying texts together pays, which depends on engine, model and machine."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from time import perf_counter

from flows.http.batching import LEAST, Classifies, Manner, classify
from lib.serving.classifier import EXAMPLE

PAYS = 1.2  # times faster together; less is not worth that answers wait for each other
ROUNDS, SECONDS = 9, 0.5  # of measuring, at most; a slow model has three rounds, however long they take
TEXTS = tuple(f"{EXAMPLE[number % len(EXAMPLE)]} {'again ' * number}" for number in range(LEAST))


@dataclass(frozen=True)
class Measured:
    """Seconds to classify `TEXTS` one after the other, and in one go."""

    alone: float
    together: float

    @property
    def pays(self) -> bool:
        """Whether texts are enough faster together."""
        return self.alone > PAYS * self.together

    def manner(self, delay: float) -> Manner:
        """How requests are to be classified."""
        return Manner(self.pays, delay, self.together / len(TEXTS))

    def __str__(self) -> str:
        manner = "requests that wait share a turn" if self.pays else "each request has a turn of its own"
        alone, together = (f"{1000 * seconds:,.1f} ms" for seconds in (self.alone, self.together))
        return f"{len(TEXTS)} texts take {together} together and {alone} alone, so {manner}"


def measure(predictor: Classifies) -> Measured:
    """Classifies a few texts both ways, in turn; the first round warms up and does not count."""
    alone, together = [], []
    began = perf_counter()
    for round_ in range(ROUNDS + 1):
        start = perf_counter()
        for text in TEXTS:
            classify(predictor, [text])
        middle = perf_counter()
        classify(predictor, TEXTS)
        alone.append(middle - start)
        together.append(perf_counter() - middle)
        if round_ >= 3 and perf_counter() - began > SECONDS:
            break
    return Measured(median(alone[1:]), median(together[1:]))
