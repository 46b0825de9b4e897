"""Metrics of answers, from their text, reference and length, and the perplexity of a loss."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sacrebleu.metrics.chrf import CHRF

from lib.errors import RecipeError

_CHRF = CHRF()  # n-grams of up to 6 characters, no words, beta 2: nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no


@dataclass(frozen=True)
class Answer:
    """A generated answer beside the entry's output, its `reference`.

    `id`: the entry's row number in the source file. `tokens`: generated, without the end token. `stopped`: the model
    ended its answer itself, before the limit of new tokens.
    """

    id: int
    response: str
    reference: str
    tokens: int
    stopped: bool


def measure_answers(answers: Sequence[Answer]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns the metrics of each answer, in order, and of all together, ready for JSON.

    Each: `id`, `exact_match`, `chrf` (0 to 100), `characters`, `tokens`, `stopped`. All: `answers` (how many), the
    shares `exact_match`, `stopped` and `empty` (0 to 1), the mean `chrf`, and `characters` and `tokens`, each with
    `mean`, `median` and `longest`. Raises RecipeError if there are no answers.
    """
    if not answers:
        raise RecipeError("There are no answers to measure: choose a split that is not empty")
    rows = [_measure(answer) for answer in answers]
    summary = {
        "answers": len(answers),
        "exact_match": _mean(rows, "exact_match"),
        "chrf": _mean(rows, "chrf"),
        "stopped": _mean(rows, "stopped"),
        "empty": sum(not answer.response.strip() for answer in answers) / len(answers),
        "characters": _lengths(rows, "characters"),
        "tokens": _lengths(rows, "tokens"),
    }
    return rows, summary


def exact_match(response: str, reference: str) -> bool:
    """Whether both texts are equal apart from case and surrounding space."""
    return response.strip().casefold() == reference.strip().casefold()


def chrf(response: str, reference: str) -> float:
    """Returns the character n-gram F-score, 0 to 100, which weighs recall twice; two empty texts score 100.

    M. Popović, "chrF: character n-gram F-score for automatic MT evaluation" (WMT 2015), as sacrebleu computes it for
    single sentences. It needs no word segmentation, so it favours no language.
    """
    response, reference = response.strip(), reference.strip()
    if not response and not reference:
        return 100.0
    return float(_CHRF.sentence_score(response, [reference]).score)


def perplexity(mean_loss: float) -> float | None:
    """Returns exp of a mean loss in nats per token; None where a float cannot hold it (a loss above 709). JSON and
    MLflow have no infinity. Raises ValueError if the loss is not a number."""
    if math.isnan(mean_loss):
        raise ValueError("the mean loss is not a number, so it has no perplexity")
    try:
        value = math.exp(mean_loss)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def _measure(answer: Answer) -> dict[str, Any]:
    return {
        "id": answer.id,
        "exact_match": exact_match(answer.response, answer.reference),
        "chrf": chrf(answer.response, answer.reference),
        "characters": len(answer.response),
        "tokens": answer.tokens,
        "stopped": answer.stopped,
    }


def _mean(rows: Sequence[dict[str, Any]], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def _lengths(rows: Sequence[dict[str, Any]], name: str) -> dict[str, float]:
    lengths = [row[name] for row in rows]
    return {"mean": float(np.mean(lengths)), "median": float(np.median(lengths)), "longest": max(lengths)}
