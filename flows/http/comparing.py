"""Compares two versions side by side: what each answered, and whether a shadow would have answered the same."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flows.http.batching import Turns
from flows.http.logs import log
from flows.http.metrics import Metrics
from flows.http.versions import Served
from lib.inference.predictor import Prediction
from tasks.record.mlflow_run import reason_of
from tasks.registry.models import Version

MOST_WAITING = 2000  # texts for the shadow; what comes while so many wait is not asked
RECORD_SECONDS = 60.0  # between two records in MLflow


@dataclass
class Side:
    """What a version answered, and how far it agreed with the one that was answered with."""

    texts: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    seconds: float = 0.0
    compared: int = 0
    agreed: int = 0
    difference: float = 0.0  # summed over the texts compared

    def given(self, predictions: Sequence[Prediction]) -> None:
        """Counts labels."""
        self.texts += len(predictions)
        self.labels.update(prediction.label for prediction in predictions)

    def metrics(self) -> dict[str, float]:
        """Returns the figures under their names in MLflow."""
        figures = {"serving/texts": float(self.texts)}
        figures |= {f"serving/share/{label}": count / self.texts for label, count in sorted(self.labels.items())}
        if self.requests:
            figures |= {
                "serving/requests": float(self.requests),
                "serving/mean_milliseconds": 1000 * self.seconds / self.requests,
            }
        if self.compared:
            figures |= {
                "serving/agreement": self.agreed / self.compared,
                "serving/mean_difference": self.difference / self.compared,
            }
        return figures


ANSWERS, SHADOW = "answers", "shadow"  # roles of a version
Record = Callable[[Version, str, Mapping[str, float]], None]  # writes a version's figures into its MLflow run


@dataclass
class Comparison:
    """The versions that are compared; `record` is called in a thread of its own."""

    turns: Turns
    metrics: Metrics
    record: Record
    shadow: Served | None = None
    sides: dict[tuple[Version, str], Side] = field(default_factory=dict)  # by version and role
    _waiting: int = 0  # texts for the shadow
    _asking: set[asyncio.Task[None]] = field(default_factory=set)
    _said: str = ""  # the last complaint, which is not repeated
    _writing: threading.Lock = field(default_factory=threading.Lock)  # the last time may come while one is under way

    def answered(
        self, request: str, served: Served, texts: Sequence[str], predictions: Sequence[Prediction], seconds: float
    ) -> None:
        """Counts what a version answered, and has the shadow asked the same, without waiting for it."""
        side = self._side(served, ANSWERS)
        side.given(predictions)
        side.requests += 1
        side.seconds += seconds
        if self.shadow is None:
            return
        if self._waiting + len(texts) > MOST_WAITING:
            self.metrics.compared(served, self.shadow, dropped=len(texts))
            return
        self._waiting += len(texts)
        task = asyncio.create_task(self._ask(self.shadow, request, served, texts, predictions))
        self._asking.add(task)  # the event loop itself would forget it
        task.add_done_callback(self._asking.discard)

    async def _ask(
        self, shadow: Served, request: str, served: Served, texts: Sequence[str], predictions: Sequence[Prediction]
    ) -> None:
        try:
            others = await self.turns.predictions(shadow.predictor, texts, behind=True)
        except Exception as error:
            log(logging.ERROR, "the shadow failed", request=request, shadow=shadow.version, error=error)
            return
        finally:
            self._waiting -= len(texts)
        pairs = list(zip(predictions, others, strict=True))
        differences = [
            abs(each.probabilities[each.label] - other.probabilities.get(each.label, 0.0)) for each, other in pairs
        ]
        agreed = sum(each.label == other.label for each, other in pairs)
        side = self._side(shadow, SHADOW)
        side.given(others)
        side.compared += len(pairs)
        side.agreed += agreed
        side.difference += sum(differences)
        self.metrics.compared(served, shadow, agreed=agreed, differed=len(pairs) - agreed)
        log(
            logging.INFO,
            "shadow",
            request=request,
            version=served.version,
            shadow=shadow.version,
            texts=len(pairs),
            agreed=agreed,
            largest_difference=round(max(differences), 6),
        )

    def _side(self, served: Served, role: str) -> Side:
        # Not by what is served itself: former champions are not to stay in memory.
        return self.sides.setdefault((served.registered.version, role), Side())

    async def run(self) -> None:
        """Records every minute, and once more when it is cancelled."""
        try:
            while True:
                await asyncio.sleep(RECORD_SECONDS)
                await asyncio.to_thread(self.write)
        finally:
            self.write()

    def write(self) -> None:
        """Writes all figures into MLflow; what MLflow does not take is written the next time."""
        with self._writing:
            for (version, role), side in list(self.sides.items()):
                self._write(version, role, side)

    def _write(self, version: Version, role: str, side: Side) -> None:
        try:
            self.record(version, role, side.metrics())
        except Exception as error:
            sentence = f"MLflow does not take the figures of version {version.version} ({reason_of(error)})"
            if sentence != self._said:
                log(logging.WARNING, sentence)
                self._said = sentence
