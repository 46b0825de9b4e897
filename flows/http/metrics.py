"""Counts for Prometheus: requests, batches, labels given, and whether scores have drifted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from flows.http.versions import Served
from lib.evaluation.drift.comparison import score_drift
from lib.evaluation.drift.profile import DriftProfile, score_of
from lib.inference.predictor import Prediction
from lib.recipes.scoring import Drift

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128)
RECENT = 10_000  # texts that drift is measured on
DRIFT = Drift()  # when scores have drifted, as `finetune score` says it by default


class Metrics:
    """All metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "finetune_requests", "Requests answered, by path and status.", ["path", "status"], registry=registry
        )
        self._seconds = Histogram(
            "finetune_request_seconds", "Seconds to answer.", ["path"], buckets=SECONDS, registry=registry
        )
        self._waiting = Gauge("finetune_waiting_requests", "Requests that wait for their turn.", registry=registry)
        self._batch_texts = Histogram(
            "finetune_batch_texts", "Texts classified together.", buckets=TEXTS, registry=registry
        )
        self._batch_seconds = Histogram(
            "finetune_batch_seconds", "Seconds to classify a batch.", buckets=SECONDS, registry=registry
        )
        self._labels = Counter("finetune_labels", "Labels given.", ["version", "label"], registry=registry)
        self._champion = Gauge(
            "finetune_champion", "The version that is champion.", ["name", "version"], registry=registry
        )
        self._shadow = Counter(
            "finetune_shadow_texts",
            "Texts by whether a shadow gave the label that was answered.",
            ["version", "shadow", "outcome"],
            registry=registry,
        )
        self._drift = _Drift()
        registry.register(self._drift)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Counts a request that was answered; `path` is one of those that are served, or one name for all others."""
        self._requests.labels(path, int(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def watch_queue(self, waiting: Callable[[], int]) -> None:
        """Shows how many requests wait, which `waiting` says."""
        self._waiting.set_function(waiting)

    def batch(self, texts: int, seconds: float) -> None:
        """Counts texts that were classified together."""
        self._batch_texts.observe(texts)
        self._batch_seconds.observe(seconds)

    def given(self, served: Served, predictions: Sequence[Prediction]) -> None:
        """Counts the labels that a version gave, and keeps their scores."""
        for prediction in predictions:
            self._labels.labels(served.version, prediction.label).inc()
        self._drift.keep(served, predictions)

    def champion(self, served: Served) -> None:
        """Shows which version is champion."""
        self._champion.clear()
        self._champion.labels(served.name, served.version).set(1)

    def compared(self, served: Served, shadow: Served, **texts: int) -> None:
        """Counts texts that a shadow was asked, too, by what came of it: `agreed`, `differed`, or `dropped` because too
        many waited."""
        for outcome, count in texts.items():
            self._shadow.labels(served.version, shadow.version, outcome).inc(count)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


@dataclass(eq=False)
class _Drift(Collector):
    """The population stability index of each version's recent scores against those that it was measured on."""

    scores: dict[str, tuple[DriftProfile, deque[float]]] = field(default_factory=dict)  # by version

    def keep(self, served: Served, predictions: Sequence[Prediction]) -> None:
        if served.profile is not None:
            _, recent = self.scores.setdefault(served.version, (served.profile, deque(maxlen=RECENT)))
            recent.extend(score_of(list(prediction.probabilities.values())) for prediction in predictions)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields index, what chance stays below, and the number of texts; called when the metrics are read."""
        psi = GaugeMetricFamily(
            "finetune_score_psi",
            f"Population stability index of recent scores; over {DRIFT.psi:g}, and over chance, they have drifted.",
            labels=["version"],
        )
        chance = GaugeMetricFamily(
            "finetune_score_psi_chance",
            f"What the index of unchanged scores exceeds with a probability of {DRIFT.significance:g}.",
            labels=["version"],
        )
        texts = GaugeMetricFamily("finetune_score_texts", "Texts that the index is measured on.", labels=["version"])
        for version, (profile, recent) in self.scores.items():
            texts.add_metric([version], len(recent))
            if len(recent) >= DRIFT.minimum:
                measure = score_drift(profile, np.array(recent), psi=DRIFT.psi, significance=DRIFT.significance)
                psi.add_metric([version], measure.value)
                chance.add_metric([version], measure.chance)
        yield from (psi, chance, texts)
