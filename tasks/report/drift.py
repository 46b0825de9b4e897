"""Finds what scoring has told about a version's messages since it was trained."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tasks.record.mlflow_run import client, loss_warned

if TYPE_CHECKING:
    from tasks.registry.register import Registered

SCORING = "score-messages"  # Prefect's flow of scoring runs, and MLflow's experiment
DRIFTED_TAG = "finetune.drifted"  # of a scoring run that measured drift: whether it found any


def drift_since(registered: Registered) -> str:
    """Returns a clause if the messages that the version scored last had drifted; nothing where that is not known."""
    clause = ""
    with loss_warned("whether the messages have drifted since is not known"):
        clause = _last_measured(registered)
    return clause


def _last_measured(registered: Registered) -> str:
    tracking = client()
    experiment = tracking.get_experiment_by_name(SCORING)
    if experiment is None:
        return ""
    measured = (
        f"tags.`model.name` = '{registered.name}' and tags.`model.version` = '{registered.version}'"
        f" and tags.`{DRIFTED_TAG}` LIKE '%'"
    )
    last = tracking.search_runs([experiment.experiment_id], measured, max_results=1)
    if not last or last[0].data.tags[DRIFTED_TAG] != "yes":
        return ""
    day = datetime.fromtimestamp(last[0].info.start_time / 1000, UTC)
    return f"the messages that it scored last, on {day:%Y-%m-%d}, had drifted from those that it was measured on"
