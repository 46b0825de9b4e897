"""The three sentences, whatever a run found."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from lib.evaluation.classify.verdict import Caution, Challenge, Measured, Rival, judge

MEASURED = Measured(rows=1000, right=974, low=0.9622, high=0.9822, confidence=0.95)


def tfidf(wins: int, losses: int, p_value: float) -> Rival:
    return Rival("TF-IDF", "TF-IDF", 0.961, wins, losses, p_value)


def majority(p_value: float = 1e-9) -> Rival:
    return Rival("always answering ham", "the majority", 0.866, 110, 2, p_value)


def champion(outcome: Any, wins: int, losses: int, p_value: float) -> Challenge:
    return Challenge(outcome, "3", Rival("version 3", "version 3", 0.95, wins, losses, p_value), 0.97, 300)


BETTER, LEVEL, WORSE = tfidf(20, 7, 0.019), tfidf(14, 12, 0.85), tfidf(4, 17, 0.007)


@pytest.mark.parametrize(
    ("rivals", "challenge", "comparison", "phrase"),
    [
        (
            [BETTER, majority()],
            None,
            "This is better beyond noise than TF-IDF (96.10%) and than always answering ham (86.60%).",
            "better than TF-IDF, the majority",
        ),
        (
            [LEVEL, majority()],
            None,
            "This is better beyond noise than always answering ham (86.60%), and no better and no worse beyond noise"
            " than TF-IDF (96.10%).",
            "better than the majority; no better than TF-IDF",
        ),
        ([WORSE], None, "This is worse beyond noise than TF-IDF (96.10%).", "worse than TF-IDF"),
        # More wins than losses are no claim where the corrected p-value is larger than 0.05.
        (
            [tfidf(20, 7, 0.051)],
            None,
            "This is no better and no worse beyond noise than TF-IDF (96.10%).",
            "no better than TF-IDF",
        ),
        (
            [],
            Challenge("first"),
            "This was compared with nothing simpler; there was no champion to compare it with, so it is the first one.",
            "first champion",
        ),
        (
            [WORSE],
            Challenge("below baseline"),
            "This is worse beyond noise than TF-IDF (96.10%); there is no champion to compare it with, and it does not"
            " become one.",
            "worse than TF-IDF; no champion",
        ),
        (
            [BETTER],
            champion("promoted", 9, 0, 0.004),
            "This is better beyond noise than TF-IDF (96.10%); on the 300 messages of the frozen test set it is better"
            " beyond noise than version 3 (97.00% against 95.00%), which it replaces as champion.",
            "better than TF-IDF; replaces version 3",
        ),
        (
            [BETTER],
            champion("kept", 5, 4, 1.0),
            "This is better beyond noise than TF-IDF (96.10%); on the 300 messages of the frozen test set it is no"
            " better and no worse beyond noise than version 3 (97.00% against 95.00%), which stays champion.",
            "better than TF-IDF; stays challenger",
        ),
        (
            [BETTER],
            champion("kept", 0, 9, 0.004),
            "This is better beyond noise than TF-IDF (96.10%); on the 300 messages of the frozen test set it is worse"
            " beyond noise than version 3 (97.00% against 95.00%), which stays champion.",
            "better than TF-IDF; stays challenger",
        ),
        (  # better, and kept out by another condition
            [BETTER],
            champion("kept", 9, 0, 0.004),
            "This is better beyond noise than TF-IDF (96.10%); on the 300 messages of the frozen test set it is better"
            " beyond noise than version 3 (97.00% against 95.00%), which all the same stays champion.",
            "better than TF-IDF; stays challenger",
        ),
        (
            [BETTER],
            Challenge("not comparable", "3"),
            "This is better beyond noise than TF-IDF (96.10%); it could not be compared with the champion, version 3.",
            "better than TF-IDF; stays challenger",
        ),
        (
            [BETTER],
            Challenge("never"),
            "This is better beyond noise than TF-IDF (96.10%); it was not compared with a champion, because"
            " registry.promote is never.",
            "better than TF-IDF; registered only",
        ),
        (
            [BETTER],
            Challenge("promoted"),
            "This is better beyond noise than TF-IDF (96.10%); it was made champion by hand, before it was compared"
            " with another one.",
            "better than TF-IDF; new champion",
        ),
    ],
)
def test_what_is_better_is_what_the_paired_tests_say(
    rivals: list[Rival], challenge: Challenge | None, comparison: str, phrase: str
) -> None:
    verdict = judge(MEASURED, rivals, challenge, [])
    assert verdict.comparison == comparison
    assert verdict.phrase == phrase


@pytest.mark.parametrize(
    ("challenge", "comparison", "phrase"),
    [
        (
            Challenge("first", past=True, reversed=True),
            "there was no champion to compare it with, so it became the first one, and it is no longer champion.",
            "no longer champion",
        ),
        (
            replace(champion("promoted", 9, 0, 0.004), past=True, reversed=True),
            "on the 300 messages of the frozen test set it was better beyond noise than version 3 (97.00% against"
            " 95.00%), which it replaced as champion, and it is no longer champion.",
            "no longer champion",
        ),
        (
            replace(champion("kept", 5, 4, 1.0), past=True, reversed=True),
            "on the 300 messages of the frozen test set it was no better and no worse beyond noise than version 3"
            " (97.00% against 95.00%), which stayed champion, and it has become champion since.",
            "champion since",
        ),
        # Decided where the figures of the comparison are not known any more.
        (Challenge("promoted", "3"), "it replaces version 3 as champion.", "replaces version 3"),
        (Challenge("kept", "3", past=True), "version 3 stayed champion.", "was not promoted"),
    ],
)
def test_what_was_decided_earlier_is_told_as_the_past(challenge: Challenge, comparison: str, phrase: str) -> None:
    verdict = judge(MEASURED, [], challenge, [])
    assert verdict.comparison == f"This was compared with nothing simpler; {comparison}"
    assert verdict.phrase == phrase


def test_the_registrys_own_significance_decides_about_the_champion() -> None:
    strict = Rival("version 3", "version 3", 0.95, 9, 1, 0.02, significance=0.01)
    assert strict.relation == "level"
    assert "no better and no worse beyond noise than version 3" in str(
        judge(MEASURED, [], Challenge("kept", "3", strict, 0.97, 300), [])
    )


def test_the_first_sentence_has_the_figure_its_interval_and_its_rows() -> None:
    assert judge(MEASURED, [], None, []).quality == (
        "974 of 1,000 test messages get the right label: 97.40% (95% interval 96.22% to 98.22%)."
    )
    of_two = Measured(1000, 974, 0.9622, 0.9822, 0.99, found=("spam", 141, 150))
    assert judge(of_two, [], None, []).quality == (
        "974 of 1,000 test messages get the right label: 97.40% (99% interval 96.22% to 98.22%), and 141 of the 150"
        " that are spam are found."
    )


def test_nothing_to_beware_of_says_what_was_looked_for() -> None:
    verdict = judge(MEASURED, [BETTER], None, [])
    assert verdict.cautions == (
        "Nothing was found that makes this doubtful: no text has contradicting labels, there are enough test messages"
        " and training messages of each label, and few texts, if any, are cut or have a copy in another split."
    )
    assert "beware" not in verdict.phrase


def test_the_most_important_cautions_come_first_and_the_others_are_named() -> None:
    cautions = [Caution(f"topic {number}", f"clause {number}") for number in range(1, 6)]
    assert judge(MEASURED, [BETTER], None, cautions[:2]).cautions == "Beware: clause 1; clause 2."
    verdict = judge(MEASURED, [BETTER], None, cautions)
    assert verdict.cautions == "Beware: clause 1; clause 2; clause 3; and see topic 4, topic 5."
    assert verdict.phrase == "better than TF-IDF; beware of topic 1, topic 2, topic 3 and 2 more"


@pytest.mark.parametrize("challenge", [None, Challenge("first"), champion("kept", 5, 4, 1.0)])
def test_there_are_three_sentences(challenge: Challenge | None) -> None:
    verdict = judge(MEASURED, [BETTER, majority()], challenge, [Caution("copies", "9 of 80 (1.2%) are copies")])
    assert len(re.findall(r"[.!?](?= [A-Z]|$)", str(verdict))) == len(verdict.sentences) == 3
