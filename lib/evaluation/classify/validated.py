"""What a classifier gives to the messages that variants are compared on: `validated.parquet` and `metrics.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lib.data.parts import FileWriter, Parts
from lib.evaluation.classify.decision import Wanted, decide
from lib.evaluation.classify.metrics import measure
from lib.evaluation.classify.predictions import probability_columns, shares
from lib.evaluation.pieces import pieces
from lib.files.jsonfile import load_json, save_json
from lib.model.labels import Probabilities, Targets, given_labels, positive_class, with_temperature

ANSWERS, METRICS = "validated.parquet", "metrics.json"
ANSWERED = pa.schema([("target", pa.int64()), ("given", pa.int64())])  # the labels' probabilities follow


def write_validated(
    folder: Path,
    targets: Targets,
    probabilities: Probabilities,
    *,
    labels: tuple[str, ...],
    wanted: Wanted,
    confidence: float,
) -> None:
    """Writes what was answered, message by message, and every metric of it.

    targets (messages,): indices into `labels`. probabilities (messages, classes): the network's own; temperature and
    threshold are decided here, on the same messages, as for a model that is served. Raises what `decide` and `measure`
    raise.
    """
    decision = decide(wanted, labels, targets, probabilities, confidence=confidence)
    positive = positive_class(labels, wanted.positive_label, wanted.threshold)
    scaled = with_temperature(probabilities, decision.temperature)
    rule: dict[str, Any] = {"labels": labels, "positive": positive, "threshold": decision.threshold}
    columns = probability_columns(labels)
    with FileWriter(folder / ANSWERS, pa.schema([*ANSWERED, *columns])) as writer:
        for some in pieces(len(targets)):
            given = given_labels(scaled[some], **rule).astype(np.int64)
            values = {"target": pa.array(targets[some]), "given": pa.array(given)}
            writer.write(pa.record_batch({**values, **shares(scaled[some], columns)}))
    save_json(measure(targets, scaled, **rule, confidence=confidence), folder / METRICS)


def right_answers(folder: Path) -> NDArray[np.bool_]:
    """Returns whether each message got its label (messages,), from the file that `write_validated` wrote."""
    answers = Parts(folder / ANSWERS, ANSWERED)
    right: NDArray[np.bool_] = answers.numbers("target") == answers.numbers("given")
    return right


def validated_metrics(folder: Path) -> dict[str, float]:
    """Returns the single numbers of those metrics, without what could not be measured."""
    metrics = load_json(folder / METRICS)
    return {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
