"""What Prefect's and MLflow's pages call a run, and how each finds the other's page of it."""

from __future__ import annotations

import os
from datetime import datetime

from prefect import runtime

from tasks.environment import PREFECT_PORT, without_password
from tasks.record.pages import git_commit


def run_name() -> str:
    """The name of the present run: its recipe and when it began, on the clock of this machine."""
    return named_now(runtime.flow_run.parameters["recipe"].name)


def named_now(recipe: str) -> str:
    """The name of a run of this recipe that begins now.

    Without the year, which the pages say elsewhere, it fits into their columns.
    """
    return f"{recipe} {datetime.now():%m-%d %H:%M:%S}"


def run_page() -> str:
    """Where Prefect shows the present run, or will once `make ui` runs."""
    if os.environ.get("PREFECT_API_URL"):
        return without_password(str(runtime.flow_run.ui_url))
    return f"http://127.0.0.1:{PREFECT_PORT}/runs/flow-run/{runtime.flow_run.id}"


def run_tags(recipe: str, source: str) -> dict[str, str]:
    """MLflow's tags of the present run of a recipe; `source` is the file of its flow."""
    return {"recipe": recipe, **link_tags(source)}


def link_tags(source: str) -> dict[str, str]:
    """MLflow's tags that lead from the present run to Prefect and to the code; `source` is the file of its flow."""
    return {
        "prefect.flow_run_id": str(runtime.flow_run.id),
        "prefect.flow_run_url": run_page(),
        "mlflow.source.name": source,
        "mlflow.source.type": "LOCAL",
        **git_commit(),
    }
