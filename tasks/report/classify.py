"""What a classifier's run comes to: its verdict, its card in the registry, and its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from lib.evaluation.classify.cautions import Source
from lib.evaluation.classify.findings import Findings
from lib.evaluation.classify.model_card import CardFacts, classifier_card
from lib.evaluation.classify.report.facts import ReportFacts, messages_of
from lib.evaluation.classify.report.page import render
from lib.evaluation.classify.summary import summarise
from lib.evaluation.classify.verdict import Challenge, Rival, won
from lib.evaluation.flat import metric_name
from lib.evaluation.promotion import Outcome
from lib.files.jsonfile import load_json
from lib.model.labels import MOST_PROBABLE
from lib.model.usage import load_usage
from lib.model.weights.saved import INFERENCE
from lib.store.warnings import warnings_of
from tasks.record.engine import engine_table, served_with
from tasks.registry.models import CHAMPION
from tasks.report.conclusion import Conclusion, Finished
from tasks.report.drift import drift_since
from tasks.report.identity import identity_of

if TYPE_CHECKING:
    from lib.store.artifacts import Artifact
    from tasks.record.track import Pages
    from tasks.registry.register import Registered

OF_CHAMPION = metric_name("champion", "accuracy")
DUEL = {"accuracy", OF_CHAMPION, "wins", "losses", "p_value", "messages"}  # what is known where two were compared


def classifier_conclusion(finished: Finished, pages: Pages) -> Conclusion:  # noqa: ARG001 - what a use case is given
    """Returns what a run that trained a classifier comes to."""
    made, registered = finished.made, finished.registered
    evaluated = made["evaluate"]
    findings, metrics = Findings.load(evaluated.folder), load_json(evaluated.file("metrics.json"))
    challenge = None if registered is None else challenge_of(registered, finished.recipe.registry.significance)
    warnings = warnings_of(made.values())
    profile = load_json(made["messages"].file("profile.json"))
    drift = "" if registered is None or registered.new else drift_since(registered)
    source = _source(profile, made["tokenize"], warnings=len(warnings), drift=drift)
    verdict = summarise(findings, metrics, source, challenge)
    facts = ReportFacts(
        identity=identity_of(finished),
        verdict=verdict,
        findings=findings,
        metrics=metrics,
        history=_history(made["finetune"]),
        messages=messages_of(evaluated.folder, findings.mistakes),
        challenge=challenge,
        why="" if registered is None else registered.why or "",
        warnings=warnings,
        left_out=profile["left_out"],
        engines=engine_table(made["engine"]),
    )
    return Conclusion(
        sentences=verdict.sentences,
        card=classifier_card(_card_facts(finished, facts, profile["labels"])),
        phrase=verdict.phrase,
        page=render(facts),
    )


def challenge_of(registered: Registered, significance: float) -> Challenge | None:
    """Returns what was decided about a version; None if nothing was. significance: of the paired test."""
    if registered.promotion is None:
        return None
    outcome, numbers = cast("Outcome", registered.promotion), registered.compared
    decided = Challenge(
        outcome,
        registered.champion,
        past=not registered.new,
        reversed=won(outcome) != (CHAMPION in registered.aliases),
    )
    if decided.champion is None or not numbers.keys() >= DUEL:
        return decided
    rival = Rival(
        name=f"version {decided.champion}",
        short=f"version {decided.champion}",
        accuracy=numbers[OF_CHAMPION],
        wins=int(numbers["wins"]),
        losses=int(numbers["losses"]),
        p_value=numbers["p_value"],
        significance=significance,
    )
    return replace(decided, rival=rival, accuracy=numbers["accuracy"], messages=int(numbers["messages"]))


def _source(profile: Mapping[str, Any], tokenize: Artifact, *, warnings: int, drift: str) -> Source:
    cut = load_json(tokenize.file("tokens.json")).get("cut", {"rows": 0, "of": 0})
    return Source(
        contradictions=profile["contradicting_texts"],
        unread=cut["rows"],
        of=cut["of"],
        warnings=warnings,
        drift=drift,
    )


def _history(finetuned: Artifact) -> dict[str, list[float]]:
    from lib.training.history import read_history

    history = read_history(finetuned.file("history.parquet"))
    return {str(name): history[name].tolist() for name in history}


def _card_facts(finished: Finished, facts: ReportFacts, source: Mapping[str, int]) -> CardFacts:
    made, recipe, findings = finished.made, finished.recipe, facts.findings
    usage = load_usage(made["finetune"].folder)
    split = load_json(made["holdout"].file("split.json"))
    trained = load_json(made["finetune"].file("training.json"))
    training, classifier = recipe.training, recipe.classifier
    learned = f"{trained['trainable_parameters']:,} of {trained['parameters']:,} parameters"
    return CardFacts(
        verdict=f"{facts.verdict}",
        name=recipe.registry.name,
        about={
            "recipe": recipe.name,
            "backbone": "{family}, {depth} layers, {width} dimensions".format(**trained["network"]),
            "weights": recipe.model.weights,
            "trainable": f"{classifier.trainable}: {learned}",
            "pooling": load_json(made["finetune"].file(INFERENCE))["pooling"],
            "balance": recipe.balance.method,
            "training": f"{training.epochs} epochs, batches of {training.batch_size}, learning rate"
            f" {training.learning_rate:g}, {training.precision}, {training.keep} weights kept",
            **({"threshold": f"{MOST_PROBABLE:g}"} | findings.decision.in_words(findings.positive)),
            "served with": served_with(made["engine"]),
        },
        source=source,
        splits=split["labels"],
        held_out=sum(split.get("held_out", {}).values()),
        metrics=facts.metrics,
        given_test="test" in split["given"],
        positive=findings.positive,
        reads=usage.long_texts.in_words(usage.max_length),
        warnings=facts.warnings,
    )
