"""Evaluates a classifier on every row of every split, and writes metrics, findings, predictions and figures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.cluster.cluster import HERE, Cluster
from lib.data.parts import Parts
from lib.data.tables import SPLITS
from lib.evaluation.classify.answers import RESERVE, Answers, texts_of
from lib.evaluation.classify.asking import Served, ask
from lib.evaluation.classify.calibration import Calibration
from lib.evaluation.classify.classes import class_table
from lib.evaluation.classify.decision import AS_THEY_ARE, Wanted, calibration_warning, decide, shares_warning
from lib.evaluation.classify.evidence import (
    at_natural_shares,
    before_and_after,
    metrics_without_copies,
    mistakes,
    split_metrics,
)
from lib.evaluation.classify.figures import Outcome, write_figures
from lib.evaluation.classify.findings import BASELINE, Findings
from lib.evaluation.classify.label_check import LabelCheck
from lib.evaluation.classify.leakage import leaks, too_many_for_grams
from lib.evaluation.classify.predictions import BASELINE_FILE, write_predictions
from lib.evaluation.classify.rivals import Rivals, compare, fit_rivals, rival_metrics, write_baseline
from lib.evaluation.classify.slices import slices
from lib.evaluation.classify.suspects import Spread
from lib.evaluation.pieces import pieces
from lib.files.jsonfile import save_json
from lib.files.mapped import IN_MEMORY, Arrays
from lib.inference.engines.engine import Engine
from lib.model.labels import Probabilities, Targets, positive_class
from lib.progress import Progress, silent


@dataclass(frozen=True)
class Facts:
    """What earlier steps know of a classifier.

    history: the training's history table. class_counts: rows of the source file by label, before balancing. straddling:
    that part of the split's report. about: what was trained, for the report: names and values, in display order.
    natural: rows of a test split that was given, by label: its class shares are what the figures are compared at, and
    so the natural ones; None: there is none, and those of the source are. undersampled: whether the validation messages
    have as many of each label, unlike messages as they come. warnings: sentences about the data. folds: accuracies of
    the classifier trained on folds, where that was asked for. label_check: which labels are in doubt. columns: of the
    test messages, values of columns of the source by their names: each value is a slice.
    """

    history: pd.DataFrame
    class_counts: Mapping[str, int]
    straddling: Mapping[str, Any]
    about: Mapping[str, str]
    natural: Mapping[str, int] | None = None
    undersampled: bool = False
    warnings: Sequence[str] = ()
    folds: Spread | None = None
    label_check: LabelCheck | None = None
    columns: Mapping[str, Sequence[object]] = field(default_factory=dict)


@dataclass(frozen=True)
class Choices:
    """What is measured.

    wanted: how probabilities become answers. confidence: level of the intervals, between 0 and 1. baseline: whether to
    fit one. natural_prevalence: whether to run the reserve too and estimate the figures at the natural class shares.
    """

    wanted: Wanted = AS_THEY_ARE
    confidence: float = 0.95
    baseline: bool = True
    natural_prevalence: bool = True


def evaluate(
    engine: Engine,
    *,
    splits: Mapping[str, Parts],
    inputs: Mapping[str, Any],
    facts: Facts,
    choices: Choices,
    folder: Path,
    arrays: Arrays = IN_MEMORY,
    served: Served | None = None,
    opened: Callable[[], AbstractContextManager[Cluster]] = lambda: nullcontext(HERE),
    progress: Progress = silent,
    warn: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measures a classifier with the engine that it is served with, and writes metrics.json, findings.json,
    predictions/ and figures/ into `folder`, and baseline.parquet where there is a baseline.

    Returns what metrics.json holds. `train`, `validation`, `test`: see `measure`; test also has bounds of intervals.
    `baseline` and `majority`: {"test": ...} alike, the former where asked for. `natural_prevalence` where asked for,
    null where it cannot be estimated. `test_without_copies` where some messages of test have a copy in another split.
    `folds` (`accuracy_mean`, `accuracy_deviation`) where the classifier was trained on folds.
    findings.json: see `Findings`; `warn` hears what it warns of besides `facts.warnings`. Raises LabelError if positive
    label and threshold do not fit the labels, if no threshold can be chosen, or if a split has no rows.

    Args:
        splits: the messages of `train`, `validation`, `test`, and of `reserve` if there is one, as `KEYED_MESSAGES`.
        inputs: the tokens of the same rows; torch's engine takes their features too.
        arrays: where what is as long as the data lies.
        served: the engine and the inputs once more, as other processes find them. opened: where these are asked.
    """
    positive_class(engine.labels, choices.wanted.positive_label, choices.wanted.threshold)  # refused before the work
    names = [*SPLITS, RESERVE] if choices.natural_prevalence and RESERVE in splits else list(SPLITS)
    for name in names:
        if len(splits[name]) != len(inputs[name]):
            raise ValueError(f"the {len(inputs[name])} inputs of {name} are not those of its messages")
    asked = {name: inputs[name] for name in names}
    with opened() as cluster:
        probabilities = ask(engine, asked, served=served, arrays=arrays, cluster=cluster, progress=progress)
    measured = {name: splits[name] for name in names}
    return write_evaluation(
        folder,
        splits=measured,
        probabilities=probabilities,
        labels=engine.labels,
        facts=facts,
        choices=choices,
        arrays=arrays,
        warn=warn,
    )


def write_evaluation(
    folder: Path,
    *,
    splits: Mapping[str, Parts],
    probabilities: Mapping[str, Probabilities],
    labels: tuple[str, ...],
    facts: Facts,
    choices: Choices,
    arrays: Arrays = IN_MEMORY,
    warn: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Does what `evaluate` does, from the probabilities (rows, classes) of each split as the network has them."""
    positive, warnings = positive_class(labels, choices.wanted.positive_label, choices.wanted.threshold), facts.warnings
    natural = facts.natural or facts.class_counts
    network = Answers(splits, probabilities, labels, positive, confidence=choices.confidence, arrays=arrays)
    decision = decide(
        choices.wanted,
        labels,
        network.targets["validation"],
        probabilities["validation"],
        confidence=choices.confidence,
    )
    sentence = calibration_warning(choices.wanted, decision)
    if sentence is not None:
        warn(sentence)
        warnings = (*warnings, sentence)
    other = shares_warning(choices.wanted, undersampled=facts.undersampled)
    if other is not None:
        warn(other)
        warnings = (*warnings, other)
    answers = network.decided(decision.threshold, decision.temperature)
    calibrations = before_and_after(network, answers, decision)
    rivals = fit_rivals(answers, natural, choices.wanted, baseline=choices.baseline)
    three = {name: splits[name] for name in SPLITS}
    copies = leaks(three)
    metrics: dict[str, Any] = {**split_metrics(answers), **rival_metrics(answers, rivals)}
    curve = None
    if choices.natural_prevalence:
        metrics["natural_prevalence"], curve = at_natural_shares(answers, natural)
    if (left := metrics_without_copies(answers, copies)) is not None:
        metrics["test_without_copies"] = left
    if facts.folds is not None:
        metrics["folds"] = {"accuracy_mean": facts.folds.mean, "accuracy_deviation": facts.folds.deviation}
    folder.mkdir(parents=True, exist_ok=True)
    save_json(metrics, folder / "metrics.json")
    write_predictions(folder, splits, answers.given, answers.probabilities, labels)
    if rivals.baseline is not None:
        write_baseline(answers, rivals, folder / BASELINE_FILE)
    figures = _draw(folder / "figures", answers, rivals, calibrations.by_name, facts.history)
    findings = Findings(
        labels=labels,
        positive=positive,
        confidence=choices.confidence,
        about={**facts.about, **decision.in_words(positive)},
        warnings=tuple(warnings),
        counts=answers.counts(facts.class_counts),
        straddling=facts.straddling,
        given_test=facts.natural is not None,
        figures=tuple(figures),
        comparisons=tuple(compare(answers, rivals)),
        majority=labels[rivals.most_frequent],
        baseline=rivals.baseline,
        decision=decision,
        calibration=calibrations.answered,
        uncalibrated=calibrations.before,
        remedy=calibrations.remedy,
        prevalence=curve,
        classes=class_table(metrics["test"]["confusion"], labels, confidence=choices.confidence),
        slices=tuple(
            slices(
                texts_of(splits["test"]),
                _right(answers.given["test"], answers.targets["test"]),
                columns=facts.columns,
                confidence=choices.confidence,
            )
        ),
        leaks=tuple(copies),
        mistakes=tuple(mistakes(answers)),
        folds=facts.folds,
        label_check=facts.label_check,
        near_by_keys=too_many_for_grams(three),
    )
    findings.save(folder)
    return metrics


def _right(given: Targets, targets: Targets) -> Iterator[bool]:
    """Yields whether each message got its label."""
    for some in pieces(len(targets)):
        yield from (given[some] == targets[some]).tolist()


def _draw(
    folder: Path,
    answers: Answers,
    rivals: Rivals,
    calibrations: Mapping[str, Calibration],
    history: pd.DataFrame,
) -> list[str]:
    validation = answers.targets["validation"]
    return write_figures(
        folder,
        Outcome(
            answers.targets["test"],
            answers.given["test"],
            answers.probabilities["test"],
            rivals.probabilities.get(BASELINE),
            answers.labels,
            answers.positive,
            calibrations,
        ),
        history=history,
        majority_share=float(np.bincount(validation).max() / len(validation)),
    )
