"""Says in three sentences what a run found: how good its classifier is, against what else, and what to beware of.

Terminal, report, model card, Prefect's page and MLflow's description begin with them. They are for readers who know no
statistics, so each claim about a difference is what a paired test says: "better beyond noise" where McNemar's exact
test, corrected for the comparisons made together, has p <= 0.05; and neither better nor worse otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lib.errors import listed
from lib.evaluation.promotion import Outcome

SIGNIFICANCE = 0.05  # largest p-value at which a difference counts as more than noise
MOST_CAUTIONS = 3  # in the third sentence

Relation = Literal["better", "level", "worse"]
THAN: dict[Relation, str] = {
    "better": "better beyond noise than",
    "level": "no better and no worse beyond noise than",
    "worse": "worse beyond noise than",
}


def relation(difference: float, p_value: float, significance: float = SIGNIFICANCE) -> Relation:
    """Returns how the first of two stands to the second, by the sign of their difference, where that is no noise."""
    if p_value > significance:
        return "level"
    return "better" if difference > 0 else "worse"


@dataclass(frozen=True)
class Measured:
    """How often the classifier is right on the test split.

    rows, right: messages, and those of them that get the right label. low, high: the interval of their share, at the
    level `confidence`. found: of two labels the positive one, how many of its messages get it, and how many there are.
    """

    rows: int
    right: int
    low: float
    high: float
    confidence: float
    found: tuple[str, int, int] | None = None


@dataclass(frozen=True)
class Rival:
    """What answers the same messages.

    name: as in "better than ...". short: the same in a tag. accuracy: a share. wins, losses: messages that only the
    classifier, only the rival labels rightly. p_value: of McNemar's exact test, after the correction. significance:
    the largest p-value at which that counts.
    """

    name: str
    short: str
    accuracy: float
    wins: int
    losses: int
    p_value: float
    significance: float = SIGNIFICANCE

    @property
    def relation(self) -> Relation:
        """How the classifier stands to it."""
        return relation(self.wins - self.losses, self.p_value, self.significance)


@dataclass(frozen=True)
class Challenge:
    """What the registry decided about the classifier's version.

    champion: the version that it was compared with; None: there was none. rival: that one on the frozen test set,
    where both were measured; accuracy: the classifier's own there; messages: how many. past: whether that was decided
    before this run; reversed: whether the version has since lost what it won then, or become champion without it.
    """

    outcome: Outcome
    champion: str | None = None
    rival: Rival | None = None
    accuracy: float = 0.0
    messages: int = 0
    past: bool = False
    reversed: bool = False

    @property
    def won(self) -> bool:
        """Whether the version became champion."""
        return won(self.outcome)


def won(outcome: Outcome) -> bool:
    """Whether a version becomes champion by this."""
    return outcome in ("first", "promoted")


@dataclass(frozen=True)
class Caution:
    """Something to beware of: a word or two, and a clause with its figures."""

    topic: str
    clause: str


@dataclass(frozen=True)
class Verdict:
    """The three sentences, and a phrase for where there is room for no more."""

    quality: str
    comparison: str
    cautions: str
    phrase: str

    @property
    def sentences(self) -> tuple[str, str, str]:
        """In their order."""
        return self.quality, self.comparison, self.cautions

    def __str__(self) -> str:
        return " ".join(self.sentences)


def judge(
    measured: Measured, rivals: Sequence[Rival], challenge: Challenge | None, cautions: Sequence[Caution]
) -> Verdict:
    """Returns the verdict.

    Args:
        rivals: what is simpler than the classifier, on the test split.
        challenge: None: nothing was registered.
        cautions: the most important first.
    """
    return Verdict(
        quality=_quality(measured),
        comparison=_comparison(rivals, challenge),
        cautions=_cautions(cautions),
        phrase=_phrase(rivals, challenge, cautions),
    )


def _quality(measured: Measured) -> str:
    sentence = (
        f"{measured.right:,} of {measured.rows:,} test messages get the right label:"
        f" {measured.right / measured.rows:.2%}"
        f" ({100 * measured.confidence:g}% interval {measured.low:.2%} to {measured.high:.2%})"
    )
    if measured.found is not None:
        label, found, rows = measured.found
        sentence += f", and {found:,} of the {rows:,} that are {label} are found"
    return f"{sentence}."


def _comparison(rivals: Sequence[Rival], challenge: Challenge | None) -> str:
    groups = [
        f"{THAN[relation]} {' and than '.join(_with_accuracy(rival) for rival in those)}"
        for relation in THAN
        if (those := [rival for rival in rivals if rival.relation == relation])
    ]
    simple = f"This is {', and '.join(groups)}" if groups else "This was compared with nothing simpler"
    registered = "" if challenge is None else f"; {_of_champion(challenge)}"
    return f"{simple}{registered}."


def _with_accuracy(rival: Rival) -> str:
    return f"{rival.name} ({rival.accuracy:.2%})"


def _of_champion(challenge: Challenge) -> str:
    decided = _of_decision(challenge) if challenge.rival is None else _of_duel(challenge, challenge.rival)
    if not challenge.reversed:
        return decided
    return (
        f"{decided}, and it is no longer champion" if challenge.won else f"{decided}, and it has become champion since"
    )


def _of_decision(challenge: Challenge) -> str:
    past, champion = challenge.past, challenge.champion
    match challenge.outcome:
        case "first":
            return f"there was no champion to compare it with, so it {'became' if past else 'is'} the first one"
        case "below baseline":
            is_none, becomes = ("was", "did not become") if past else ("is", "does not become")
            return f"there {is_none} no champion to compare it with, and it {becomes} one"
        case "promoted":
            if champion is not None:
                return f"it {'replaced' if past else 'replaces'} version {champion} as champion"
            return "it was made champion by hand, before it was compared with another one"
        case "never":
            return f"it was not compared with a champion, because registry.promote {'was' if past else 'is'} never"
        case "kept" if champion is not None:
            return f"version {champion} {'stayed' if past else 'stays'} champion"
    return (
        "there is no comparison with a champion yet"
        if champion is None
        else (f"it could not be compared with the champion, version {champion}")
    )


def _of_duel(challenge: Challenge, rival: Rival) -> str:
    past = challenge.past
    fought = (
        f"on the {challenge.messages:,} messages of the frozen test set it {'was' if past else 'is'}"
        f" {THAN[rival.relation]} {rival.name} ({challenge.accuracy:.2%} against {rival.accuracy:.2%})"
    )
    if challenge.outcome == "promoted":
        return f"{fought}, which it {'replaced' if past else 'replaces'} as champion"
    also = "all the same " if rival.relation == "better" else ""
    return f"{fought}, which {also}{'stayed' if past else 'stays'} champion"


def _cautions(cautions: Sequence[Caution]) -> str:
    if not cautions:
        return (
            "Nothing was found that makes this doubtful: no text has contradicting labels, there are enough test"
            " messages and training messages of each label, and few texts, if any, are cut or have a copy in another"
            " split."
        )
    clauses = "; ".join(caution.clause for caution in cautions[:MOST_CAUTIONS])
    left = [caution.topic for caution in cautions[MOST_CAUTIONS:]]
    return f"Beware: {clauses}{f'; and see {listed(left)}' if left else ''}."


def _phrase(rivals: Sequence[Rival], challenge: Challenge | None, cautions: Sequence[Caution]) -> str:
    parts = [
        f"{'no better than' if relation == 'level' else f'{relation} than'} {listed(names)}"
        for relation in THAN
        if (names := [rival.short for rival in rivals if rival.relation == relation])
    ]
    if challenge is not None:
        parts.append(_standing(challenge))
    if cautions:
        topics = [caution.topic for caution in cautions]
        parts.append(f"beware of {listed(topics, most=MOST_CAUTIONS)}")
    return "; ".join(parts)


def _standing(challenge: Challenge) -> str:
    if challenge.reversed:
        return "no longer champion" if challenge.won else "champion since"
    match challenge.outcome:
        case "first":
            return "first champion"
        case "promoted":
            replaces = "replaced" if challenge.past else "replaces"
            return "new champion" if challenge.champion is None else f"{replaces} version {challenge.champion}"
        case "below baseline":
            return "no champion"
        case "never":
            return "registered only"
    return "was not promoted" if challenge.past else "stays challenger"
