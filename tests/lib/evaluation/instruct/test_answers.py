"""Figures of answers that need no judge, against values worked out by hand."""

from __future__ import annotations

import json
import math

import pytest

from lib.errors import RecipeError
from lib.evaluation.instruct.answers import Answer, chrf, exact_match, measure_answers, perplexity

ANSWERS = [
    Answer(id=4, response="It is four. ", reference="it is four.", tokens=4, stopped=True),
    Answer(id=9, response="cat", reference="The cat sat", tokens=1, stopped=True),
    Answer(id=2, response="", reference="Two.", tokens=0, stopped=True),
    Answer(id=1, response="one one one one", reference="One.", tokens=256, stopped=False),
]


def test_each_answer_has_its_figures_in_order() -> None:
    rows, _ = measure_answers(ANSWERS)
    assert [row["id"] for row in rows] == [4, 9, 2, 1]
    assert [row["exact_match"] for row in rows] == [True, False, False, False]
    assert [row["characters"] for row in rows] == [12, 3, 0, 15]
    assert [row["tokens"] for row in rows] == [4, 1, 0, 256]
    assert [row["stopped"] for row in rows] == [True, True, True, False]
    assert all(0 <= row["chrf"] <= 100 for row in rows)


def test_the_summary_is_over_all_answers_and_fits_into_json() -> None:
    rows, summary = measure_answers(ANSWERS)
    assert summary["answers"] == 4
    assert (summary["exact_match"], summary["stopped"], summary["empty"]) == (0.25, 0.75, 0.25)
    assert summary["chrf"] == pytest.approx(sum(row["chrf"] for row in rows) / 4)
    assert summary["tokens"] == {"mean": 65.25, "median": 2.5, "longest": 256}
    assert summary["characters"] == {"mean": 7.5, "median": 7.5, "longest": 15}
    assert json.loads(json.dumps([rows, summary], allow_nan=False)) == [rows, summary]


def test_no_answers_are_nothing_to_measure() -> None:
    with pytest.raises(RecipeError, match="no answers"):
        measure_answers([])


@pytest.mark.parametrize(
    ("response", "reference", "same"),
    [
        ("Yes.", "yes.\n", True),
        ("STRASSE", "straße", True),
        ("", " ", True),
        ("Yes", "Yes.", False),
        ("a  b", "a b", False),
    ],
)
def test_an_exact_match_ignores_case_and_outer_space_only(response: str, reference: str, same: bool) -> None:
    assert exact_match(response, reference) is same


def test_chrf_is_the_f_score_of_character_n_grams() -> None:
    """ "ab" in "abc": precision 1 for n-grams of 1 and 2 characters, recall 2/3 and 1/2; beta is 2; none is longer."""
    precision, recall = 1, (2 / 3 + 1 / 2) / 2
    assert chrf("ab", "abc") == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))
    assert chrf("ab c", "abc") == chrf("abc", "abc") == 100  # spaces do not count
    assert chrf("xyz", "abc") == 0


def test_chrf_of_nothing() -> None:
    assert chrf("", "abc") == chrf("abc", "") == 0
    assert chrf(" ", "") == 100


def test_perplexity_is_the_exponential_of_the_loss() -> None:
    assert perplexity(0) == 1
    assert perplexity(math.log(50_257)) == pytest.approx(50_257)


@pytest.mark.parametrize("loss", [709.79, 1e9, math.inf])
def test_a_perplexity_beyond_all_floats_is_none(loss: float) -> None:
    assert perplexity(loss) is None
    assert math.isfinite(perplexity(709.78) or math.nan)


def test_no_loss_has_no_perplexity() -> None:
    with pytest.raises(ValueError, match="not a number"):
        perplexity(math.nan)
