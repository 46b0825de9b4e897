"""Decides whether a challenger replaces the champion: the paired comparison, the conditions, and the reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel

from lib.evaluation.flat import metric_name
from lib.evaluation.significance import mcnemar

ROUNDING = 1e-12  # by which a sum of shares may be off in binary floating point

Outcome = Literal["first", "below baseline", "promoted", "kept", "never", "not comparable"]


class Figures(BaseModel):
    """Metrics of some answers, as shares from 0 to 1."""

    accuracy: float
    false_positive_rate: float


class Duel(BaseModel):
    """A challenger and a champion on the same messages."""

    messages: int
    wins: int  # messages that only the challenger labels rightly
    losses: int  # messages that only the champion labels rightly
    p_value: float  # of McNemar's exact test
    challenger: Figures
    champion: Figures


class Condition(BaseModel):
    """A condition of promotion."""

    met: bool
    claim: str  # what is to be shown
    figures: str  # what was found


class Decision(BaseModel):
    """What becomes of a version, why, and the numbers behind it."""

    outcome: Outcome
    why: str  # one sentence
    champion: str | None = None  # the version that it was compared with
    conditions: list[Condition] = []
    numbers: dict[str, float | int] = {}


MAJORITY, BASELINE = "the majority class", "TF-IDF"
NUMBERS = {MAJORITY: "majority", BASELINE: "baseline"}  # what their figures are called


def figures(targets: Sequence[str], answers: Sequence[str], *, positive: str | None) -> Figures:
    """Returns accuracy and false-positive rate of `answers` against `targets`, both one label per message.

    With a `positive` label (two classes) the rate is the share of the other class's messages predicted as it. Without,
    it is the mean over the classes of the share of all other messages predicted as this class (macro). A class that all
    messages have counts as zero: none could be a false positive. Raises ValueError if there are no messages.
    """
    if not targets:
        raise ValueError("there are no messages to compare on")
    pairs = list(zip(targets, answers, strict=True))
    classes = sorted({*targets, *answers}) if positive is None else [positive]
    rates = []
    for label in classes:
        others = [answer for target, answer in pairs if target != label]
        rates.append(others.count(label) / len(others) if others else 0.0)
    return Figures(
        accuracy=sum(target == answer for target, answer in pairs) / len(pairs),
        false_positive_rate=sum(rates) / len(rates),
    )


def duel(targets: Sequence[str], challenger: Sequence[str], champion: Sequence[str], *, positive: str | None) -> Duel:
    """Compares two sets of answers message by message; see `figures` for `positive`."""
    triples = list(zip(targets, challenger, champion, strict=True))
    wins = sum(new == target != old for target, new, old in triples)
    losses = sum(old == target != new for target, new, old in triples)
    return Duel(
        messages=len(triples),
        wins=wins,
        losses=losses,
        p_value=mcnemar(wins, losses),
        challenger=figures(targets, challenger, positive=positive),
        champion=figures(targets, champion, positive=positive),
    )


def decide_duel(
    fought: Duel,
    *,
    champion: str,
    majority: float,
    baseline: float | None,
    significance: float,
    max_false_positive_increase: float,
) -> Decision:
    """Returns `promoted` if every condition is met, otherwise `kept`; a tie is kept.

    Args:
        champion: the version compared with.
        majority, baseline: accuracy on the same messages of the most frequent label, and of TF-IDF; None: left out.
        significance: largest p-value at which a difference counts as more than noise.
        max_false_positive_increase: how far the false-positive rate may exceed the champion's, as a share.
    """
    new, old = fought.challenger, fought.champion
    conditions = [
        Condition(
            met=fought.wins > fought.losses and fought.p_value <= significance,
            claim="better than the champion beyond noise",
            figures=f"{_times(fought.wins)} only the challenger is right, {_times(fought.losses)} only the champion,"
            f" p = {fought.p_value:.3g} (at most {significance:g})",
        ),
        Condition(
            met=new.false_positive_rate <= old.false_positive_rate + max_false_positive_increase + ROUNDING,
            claim="within the false-positive rate allowed",
            figures=f"{new.false_positive_rate:.2%} against the champion's {old.false_positive_rate:.2%}"
            f" (at most {max_false_positive_increase:.2%} higher)",
        ),
    ]
    for accuracy, claim in (
        (majority, "better than the majority class"),
        (baseline, "better than the TF-IDF baseline"),
    ):
        if accuracy is not None:
            found = f"accuracy {new.accuracy:.2%} against {accuracy:.2%}"
            conditions.append(Condition(met=new.accuracy > accuracy, claim=claim, figures=found))
    failed = [f"not {condition.claim}: {condition.figures}" for condition in conditions if not condition.met]
    won = f"{conditions[0].claim}: {conditions[0].figures}"
    left_out = "" if baseline is not None else "; not compared with the baseline, evaluation.baseline is off"
    return Decision(
        outcome="kept" if failed else "promoted",
        why=f"{'; '.join(failed) or won}{left_out}",
        champion=champion,
        conditions=conditions,
        numbers=numbers(new, old, fought)
        | ({} if baseline is None else {metric_name("baseline", "accuracy"): baseline}),
    )


def decide_first(measured: Figures, rivals: Mapping[str, Duel], *, significance: float) -> Decision:
    """Decides for a name without a champion: any version becomes it unless something simple beats it beyond noise.

    rivals: the version against something simple on the same messages: MAJORITY, and BASELINE where it is on.
    significance: as in `decide_duel`.
    """
    beaten = [name for name, duel in rivals.items() if duel.losses > duel.wins and duel.p_value <= significance]
    beside = ", ".join(f"{name} {duel.champion.accuracy:.2%}" for name, duel in rivals.items())
    found = f"accuracy {measured.accuracy:.2%} on the frozen test set, {beside}"
    if beaten:
        why = f"not made champion, {' and '.join(beaten)} is better beyond noise: {found}; `promote` overrides that"
    else:
        why = f"the name had no champion: {found}"
    accuracies = {metric_name(NUMBERS[name], "accuracy"): duel.champion.accuracy for name, duel in rivals.items()}
    return Decision(outcome="below baseline" if beaten else "first", why=why, numbers=numbers(measured) | accuracies)


def numbers(challenger: Figures, champion: Figures | None = None, fought: Duel | None = None) -> dict[str, float | int]:
    """Returns the figures of a decision by name, as stored with a version."""
    found: dict[str, float | int] = {
        "accuracy": challenger.accuracy,
        "false_positive_rate": challenger.false_positive_rate,
    }
    if champion is not None:
        found[metric_name("champion", "accuracy")] = champion.accuracy
        found[metric_name("champion", "false_positive_rate")] = champion.false_positive_rate
    if fought is not None:
        found |= {"wins": fought.wins, "losses": fought.losses, "p_value": fought.p_value}
    return found


HEADINGS: Mapping[Outcome, str] = {
    "first": "is the first champion",
    "below baseline": "is no champion: something simple is better",
    "promoted": "is the new champion",
    "kept": "stays challenger",
    "never": "is registered only",
    "not comparable": "stays challenger: not comparable",
}


def page(decision: Decision, *, name: str, version: str, frozen: str | None) -> str:
    """Renders the decision as Markdown. `frozen` identifies the frozen test set."""
    lines = [f"# {name} version {version} {HEADINGS[decision.outcome]}", "", f"{_capital(decision.why)}."]
    if decision.conditions:
        lines += ["", f"Compared with the champion, version {decision.champion}:", ""]
        lines += [f"- {'' if one.met else '**not** '}{one.claim}: {one.figures}" for one in decision.conditions]
    if decision.numbers:
        lines += ["", "| figure | value |", "|---|---|"]
        lines += [f"| {figure.replace('_', ' ')} | {value:.6g} |" for figure, value in decision.numbers.items()]
    if frozen is not None:
        lines += ["", f"On the frozen test set `{frozen}`."]
    return "\n".join(lines) + "\n"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
