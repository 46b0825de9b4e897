"""Answers a window of texts, wherever that is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lib.evaluation.drift.comparison import Tallier, Tally

if TYPE_CHECKING:
    from lib.evaluation.drift.profile import DriftProfile
    from lib.inference.predictor import Predictor


@dataclass(frozen=True)
class Question:
    """Texts, and what answers them. predictor: loads the classifier. profile: None: nothing is tallied for drift."""

    texts: list[str]
    predictor: Callable[[], Predictor]
    profile: DriftProfile | None


@dataclass(frozen=True)
class Answers:
    """Of some texts the probability of each label (texts, labels), the indices of the labels that are given (texts,),
    and their tally for drift."""

    probabilities: NDArray[np.float64]
    given: NDArray[np.intp]
    tally: Tally | None


def answer(question: Question) -> Answers | None:
    """Returns the answers to texts; None: there is no text."""
    if not question.texts:
        return None
    predictor = loaded(question.predictor)
    tokens = predictor.tokenizer.encode(question.texts)
    probabilities, given = predictor.decide(tokens)
    tally = None if question.profile is None else Tallier(question.profile).count(tokens, probabilities)
    return Answers(probabilities, given, tally)


@lru_cache(maxsize=1)
def loaded(predictor: Callable[[], Predictor]) -> Predictor:
    """Returns the classifier, loaded once for all windows of a process."""
    return predictor()
