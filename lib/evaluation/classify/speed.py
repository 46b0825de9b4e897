"""Measures how fast classifiers answer, several in turn, so that what else the machine does slows all of them alike."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.model.labels import Probabilities
from lib.text.windows import Texts, lengths_of, take

Classify = Callable[[Texts], Probabilities]  # tokens of texts -> (texts, classes)

ROUNDS = 5  # times that each is measured; the median hides what disturbs one or two of them
PASS_SECONDS = 0.3  # of the slowest, in one pass; the others are faster, so that all rounds of five take about 5 s
MOST_TEXTS = 1024  # in one pass
MOST_ALONE = 5  # texts that are classified one by one in a round


@dataclass(frozen=True)
class Speed:
    """How fast a classifier answers on this machine.

    messages_per_second: many texts at once. milliseconds: one text alone, the median.
    """

    messages_per_second: float
    milliseconds: float


def measure_speed(classifiers: Mapping[str, Classify], texts: Texts) -> dict[str, Speed]:
    """Returns the speed of each classifier with the same texts, given as tokens or as windows of them.

    They take turns in `ROUNDS` rounds. A pass hands over as many texts, evenly chosen, as the slowest can do in
    `PASS_SECONDS`; the classifier sorts them into batches. Raises ValueError without texts or classifiers.
    """
    if not len(texts) or not classifiers:
        raise ValueError("there is nothing to measure")
    many = _texts_of_a_pass(classifiers.values(), texts)
    alone = [take(texts, [place]) for place in even_places(lengths_of(texts), min(MOST_ALONE, len(many)))]
    passes: dict[str, list[float]] = {name: [] for name in classifiers}
    single: dict[str, list[float]] = {name: [] for name in classifiers}
    for _ in range(ROUNDS):
        for name, classify in classifiers.items():
            passes[name].append(_seconds(classify, many))
            single[name] += [_seconds(classify, one) for one in alone]
    return {name: Speed(len(many) / median(passes[name]), 1000 * median(single[name])) for name in classifiers}


def evenly(sequences: Sequence[Sequence[int]], most: int) -> list[Sequence[int]]:
    """Returns at most `most` of the sequences, from the shortest to the longest in even steps, so that they have about
    the mean length of all."""
    return [sequences[place] for place in even_places([len(sequence) for sequence in sequences], most)]


def even_places(lengths: Sequence[int] | NDArray[np.integer[Any]], most: int) -> list[int]:
    """Returns the positions of those that `evenly` takes of texts of these lengths."""
    ordered = sorted(range(len(lengths)), key=lengths.__getitem__)
    count = min(most, len(ordered))
    return [ordered[(2 * index + 1) * len(ordered) // (2 * count)] for index in range(count)]


def _texts_of_a_pass(classifiers: Collection[Classify], texts: Texts) -> Texts:
    """Doubles the texts of a pass until the slowest needs half of `PASS_SECONDS`; the first calls, which may prepare
    weights and memory, do not count."""
    lengths = lengths_of(texts)
    taken = take(texts, even_places(lengths, 1))
    for classify in classifiers:
        classify(taken)
    while max(_seconds(classify, taken) for classify in classifiers) < PASS_SECONDS / 2:
        more = even_places(lengths, min(2 * len(taken), MOST_TEXTS))
        if len(more) == len(taken):
            break
        taken = take(texts, more)
    return taken


def _seconds(classify: Classify, texts: Texts) -> float:
    start = perf_counter()
    classify(texts)
    return perf_counter() - start
