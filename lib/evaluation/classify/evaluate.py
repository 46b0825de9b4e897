"""Evaluates a classifier on every row of every split, and writes metrics, predictions, figures and report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lib.data.duplicates import normalise
from lib.data.tables import SPLITS
from lib.evaluation.classify.baseline import baseline_probabilities
from lib.evaluation.classify.figures import Outcome, write_figures
from lib.evaluation.classify.metrics import measure
from lib.evaluation.classify.prevalence import natural_prevalence
from lib.evaluation.classify.report import Findings, write_report
from lib.files.jsonfile import save_json
from lib.inference.engines.engine import Engine
from lib.model.labels import MOST_PROBABLE, Probabilities, Targets, given_labels, positive_class
from lib.progress import Progress, part_of, silent

RESERVE = "reserve"  # what undersampling left out: never trained on


@dataclass(frozen=True)
class Facts:
    """What earlier steps know of a classifier.

    history: the training's history table. class_counts: rows of the source file by label, before balancing. straddling:
    that part of the split's report. about: what was trained, for the report: names and values, in display order.
    natural: rows of a test split that was given, by label: its class shares are what the figures are compared at, and
    so the natural ones; None: there is none, and those of the source are. warnings: sentences about the data.
    """

    history: pd.DataFrame
    class_counts: Mapping[str, int]
    straddling: Mapping[str, Any]
    about: Mapping[str, str]
    natural: Mapping[str, int] | None = None
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Choices:
    """What is measured.

    positive_label, threshold: of two classes, the label predicted from this probability on. confidence: level of the
    intervals, between 0 and 1. baseline: whether to fit one. natural_prevalence: whether to run the reserve too and
    estimate the figures at the natural class shares.
    """

    positive_label: str | None = None
    threshold: float = MOST_PROBABLE
    confidence: float = 0.95
    baseline: bool = True
    natural_prevalence: bool = True


def evaluate(
    engine: Engine,
    *,
    splits: Mapping[str, pd.DataFrame],
    inputs: Mapping[str, Any],
    facts: Facts,
    choices: Choices,
    folder: Path,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measures a classifier with the engine that it is served with, and writes metrics.json, predictions.parquet,
    figures/ and report.html into `folder`.

    Returns what metrics.json holds: a dict for each split, and `baseline` and `natural_prevalence` where asked for (the
    latter null where it cannot be estimated). Raises LabelError if positive label and threshold do not fit the labels,
    or a split has no rows.

    Args:
        splits: id, text, label of `train`, `validation`, `test`, and of `reserve` if there is one.
        inputs: the tokens of the same rows; torch's engine takes their features too.
    """
    positive_class(engine.labels, choices.positive_label, choices.threshold)  # refused before the work
    names = [*SPLITS, RESERVE] if choices.natural_prevalence and RESERVE in splits else list(SPLITS)
    total = sum(len(splits[name]) for name in names)
    probabilities: dict[str, Probabilities] = {}
    done = 0
    for name in names:
        if len(splits[name]) != len(inputs[name]):
            raise ValueError(f"the {len(inputs[name])} inputs of {name} are not those of its messages")
        probabilities[name] = engine.probabilities(inputs[name], progress=part_of(progress, done, total))
        done += len(splits[name])
    measured = {name: splits[name] for name in names}
    return write_evaluation(
        folder, splits=measured, probabilities=probabilities, labels=engine.labels, facts=facts, choices=choices
    )


def write_evaluation(
    folder: Path,
    *,
    splits: Mapping[str, pd.DataFrame],
    probabilities: Mapping[str, Probabilities],
    labels: tuple[str, ...],
    facts: Facts,
    choices: Choices,
) -> dict[str, Any]:
    """Does what `evaluate` does, from the probabilities (rows, classes) of each split."""
    position = {label: index for index, label in enumerate(labels)}
    targets = {name: split["label"].map(position).to_numpy(np.int64) for name, split in splits.items()}
    positive = positive_class(labels, choices.positive_label, choices.threshold)
    rule: dict[str, Any] = {"labels": labels, "positive": positive, "threshold": choices.threshold}
    of_baseline = None
    if choices.baseline:
        of_baseline = baseline_probabilities(
            splits["train"]["text"].tolist(), targets["train"], splits["test"]["text"].tolist(), classes=len(labels)
        )
    measuring = {**rule, "confidence": choices.confidence}
    metrics: dict[str, Any] = {name: measure(targets[name], probabilities[name], **measuring) for name in SPLITS}
    if of_baseline is not None:
        metrics["baseline"] = {"test": measure(targets["test"], of_baseline, **measuring)}
    if choices.natural_prevalence:
        new = _new_to_the_classifier(splits)
        metrics["natural_prevalence"] = natural_prevalence(
            np.concatenate([targets[name][rows] for name, rows in new.items()]),
            np.concatenate([probabilities[name][rows] for name, rows in new.items()]),
            class_counts=facts.natural or facts.class_counts,
            **measuring,
        )
    given = {name: given_labels(rows, **rule) for name, rows in probabilities.items()}
    predictions = _predictions(splits, probabilities, given, labels)
    folder.mkdir(parents=True, exist_ok=True)
    save_json(metrics, folder / "metrics.json")
    table = pa.Table.from_pandas(predictions, preserve_index=False).replace_schema_metadata()
    pq.write_table(table, folder / "predictions.parquet")
    figures = write_figures(
        folder / "figures",
        Outcome(targets["test"], given["test"], probabilities["test"], of_baseline, labels, positive),
        history=facts.history,
        majority_share=float(np.bincount(targets["validation"]).max() / len(targets["validation"])),
    )
    findings = Findings(
        about=facts.about,
        warnings=facts.warnings,
        counts=_counts(splits, labels, facts.class_counts),
        straddling=facts.straddling,
        given_test=facts.natural is not None,
        metrics=metrics,
        predictions=predictions,
        figures=figures,
        labels=labels,
        positive=positive,
    )
    write_report(folder / "report.html", findings, folder / "figures")
    return metrics


def _counts(
    splits: Mapping[str, pd.DataFrame], labels: Sequence[str], source: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """Counts messages by label, for the source and for each split that has any."""
    counts = {"source": {label: source.get(label, 0) for label in labels}}
    for name, split in splits.items():
        if len(split):
            counts[name] = {label: int((split["label"] == label).sum()) for label in labels}
    return counts


def _new_to_the_classifier(splits: Mapping[str, pd.DataFrame]) -> dict[str, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Marks the rows of the test split and the reserve that have no near-duplicate among the training messages.
    Undersampling ignores duplicates, so the reserve contains copies of training messages."""
    trained_on = set(splits["train"]["text"].map(normalise))
    return {
        name: ~splits[name]["text"].map(normalise).isin(trained_on).to_numpy(bool)
        for name in ("test", RESERVE)
        if name in splits
    }


def _predictions(
    splits: Mapping[str, pd.DataFrame],
    probabilities: Mapping[str, Probabilities],
    given: Mapping[str, Targets],
    labels: tuple[str, ...],
) -> pd.DataFrame:
    """One row per message: split, id, text, label, predicted, and probability_<label> for each label."""
    names = np.array(labels, dtype=object)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "split": name,
                    "id": split["id"].to_numpy(np.int64),
                    "text": split["text"].to_numpy(object),
                    "label": split["label"].to_numpy(object),
                    "predicted": names[given[name]],
                    **{f"probability_{label}": probabilities[name][:, index] for index, label in enumerate(labels)},
                }
            )
            for name, split in splits.items()
        ],
        ignore_index=True,
    )
