"""Records versions that are served side by side: an MLflow run for each, so that its pages compare them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from tasks.record.mlflow_run import accepted, log_metrics
from tasks.record.outbox import new_record, now
from tasks.record.recording import Recording, recorded
from tasks.registry.models import Version

EXPERIMENT = "serving"


class ServingRuns:
    """The runs of one server; they end when the block ends."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._runs: dict[tuple[Version, str], Recording] = {}
        self._step = 0

    def __enter__(self) -> ServingRuns:
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def record(self, version: Version, role: str, metrics: Mapping[str, float]) -> None:
        """Logs a version's figures; its run begins with the first ones. Raises `FAILURES` if MLflow does not take
        them."""
        if (version, role) not in self._runs:
            run = recorded(
                new_record(
                    experiment=EXPERIMENT,
                    name=f"{version.name} {version.version} ({role})",
                    params={"role": role},
                    tags={"model.name": version.name, "model.version": version.version},
                )
            )
            self._runs[version, role] = self._open.enter_context(run)
        self._step += 1
        named = {accepted(*name.split("/")): value for name, value in metrics.items()}
        tracking, run_id = self._runs[version, role].open()
        log_metrics(tracking, run_id, named, step=self._step, at=now())
