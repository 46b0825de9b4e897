"""The final judgement of a classifier: every row of every split, measured, drawn and written down.

Here belongs the order of the work and the files that come of it; each kind of figure has its own module beside.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from lib.data.duplicates import normalise
from lib.data.tables import SPLITS
from lib.evaluation.classify.baseline import baseline_probabilities
from lib.evaluation.classify.metrics import measure
from lib.evaluation.classify.prevalence import natural_prevalence
from lib.evaluation.classify.report import Findings, write_report
from lib.evaluation.figures import write_figures
from lib.files.jsonfile import save_json
from lib.model.classifier import Classifier, class_probabilities
from lib.model.labels import Probabilities, Targets, given_labels, positive_class
from lib.progress import Progress, part_of, silent
from lib.text.batching import Padding

RESERVE = "reserve"  # what undersampling left out: never trained on


def evaluate(
    classifier: Classifier,
    *,
    splits: Mapping[str, pd.DataFrame],
    inputs: Mapping[str, Sequence[Sequence[int] | Tensor]],
    history: pd.DataFrame,
    class_counts: Mapping[str, int],
    straddling: Mapping[str, Any],
    about: Mapping[str, str],
    padding: Padding,
    max_length: int,
    positive_label: str | None,
    threshold: float,
    confidence: float,
    baseline: bool,
    with_natural_prevalence: bool,
    folder: Path,
    device: str = "auto",
    precision: str = "float32",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure `classifier` and write metrics.json, predictions.parquet, figures/ and report.html into `folder`.

    Args:
        splits: id, text, label of `train`, `validation`, `test`, and of `reserve` where there is one.
        inputs: the tokens of each row of the same, or their features.
        history: the training's history table.
        class_counts: rows of the source file by label, before balancing.
        straddling: the part of that name in the split's report.
        about: what was trained, for the page: a few names with their values, in the order to show them in.
        padding, max_length: those of the training; what the classifier sees must not change.
        positive_label, threshold: of two classes, the label that is given from this probability on.
        confidence: level of the intervals, between 0 and 1.
        with_natural_prevalence: also run the reserve, and estimate the figures at the shares of `class_counts`.

    Returns what metrics.json holds: a dict for each split, and `baseline` and `natural_prevalence` where asked for
    (the latter null where it cannot be estimated).

    Raises LabelError if `positive_label` and `threshold` do not fit the labels, or a split has no rows to measure.
    """
    labels = classifier.labels
    positive = positive_class(labels, positive_label, threshold)
    names = [*SPLITS, RESERVE] if with_natural_prevalence and RESERVE in splits else list(SPLITS)
    total = sum(len(splits[name]) for name in names)
    probabilities: dict[str, Probabilities] = {}
    done = 0
    for name in names:
        if len(splits[name]) != len(inputs[name]):
            raise ValueError(f"the {len(inputs[name])} inputs of {name} are not those of its messages")
        probabilities[name] = class_probabilities(
            classifier,
            inputs[name],
            padding=padding,
            max_length=max_length,
            device=device,
            precision=precision,
            progress=part_of(progress, done, total),
        )
        done += len(splits[name])
    return write_evaluation(
        folder,
        splits={name: splits[name] for name in names},
        probabilities=probabilities,
        history=history,
        class_counts=class_counts,
        straddling=straddling,
        about=about,
        labels=labels,
        positive=positive,
        threshold=threshold,
        confidence=confidence,
        baseline=baseline,
        with_natural_prevalence=with_natural_prevalence,
    )


def write_evaluation(
    folder: Path,
    *,
    splits: Mapping[str, pd.DataFrame],
    probabilities: Mapping[str, Probabilities],
    history: pd.DataFrame,
    class_counts: Mapping[str, int],
    straddling: Mapping[str, Any],
    about: Mapping[str, str],
    labels: tuple[str, ...],
    positive: str | None,
    threshold: float,
    confidence: float,
    baseline: bool,
    with_natural_prevalence: bool,
) -> dict[str, Any]:
    """What `evaluate` does once the probabilities (rows, classes) of each split are there."""
    position = {label: index for index, label in enumerate(labels)}
    targets = {name: split["label"].map(position).to_numpy(np.int64) for name, split in splits.items()}
    rule: dict[str, Any] = {"labels": labels, "positive": positive, "threshold": threshold}
    metrics: dict[str, Any] = {
        name: measure(targets[name], probabilities[name], confidence=confidence, **rule) for name in SPLITS
    }
    of_baseline = None
    if baseline:
        of_baseline = baseline_probabilities(
            splits["train"]["text"].tolist(), targets["train"], splits["test"]["text"].tolist(), classes=len(labels)
        )
        metrics["baseline"] = measure(targets["test"], of_baseline, confidence=confidence, **rule)
    if with_natural_prevalence:
        new = _new_to_the_classifier(splits)
        metrics["natural_prevalence"] = natural_prevalence(
            np.concatenate([targets[name][rows] for name, rows in new.items()]),
            np.concatenate([probabilities[name][rows] for name, rows in new.items()]),
            class_counts=class_counts,
            confidence=confidence,
            **rule,
        )
    given = {name: given_labels(rows, **rule) for name, rows in probabilities.items()}
    predictions = _predictions(splits, probabilities, given, labels)
    folder.mkdir(parents=True, exist_ok=True)
    save_json(metrics, folder / "metrics.json")
    table = pa.Table.from_pandas(predictions, preserve_index=False).replace_schema_metadata()
    pq.write_table(table, folder / "predictions.parquet")
    figures = write_figures(
        folder / "figures",
        history=history,
        majority_share=float(np.bincount(targets["validation"]).max() / len(targets["validation"])),
        targets=targets["test"],
        probabilities=probabilities["test"],
        given=given["test"],
        baseline=of_baseline,
        labels=labels,
        positive=positive,
    )
    findings = Findings(
        about=about,
        counts={
            "source": {label: class_counts.get(label, 0) for label in labels},
            **{
                name: {label: int((split["label"] == label).sum()) for label in labels}
                for name, split in splits.items()
                if len(split)
            },
        },
        straddling=straddling,
        metrics=metrics,
        predictions=predictions,
        figures=figures,
        labels=labels,
        positive=positive,
    )
    write_report(folder / "report.html", findings, folder / "figures")
    return metrics


def _new_to_the_classifier(splits: Mapping[str, pd.DataFrame]) -> dict[str, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Which rows of the test split and the reserve have no near-duplicate among the training messages.

    Undersampling takes no account of duplicates, so the reserve has copies of what was trained on.
    """
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
    """One row for each message: split, id, text, label, predicted, and probability_<label> for each label."""
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
