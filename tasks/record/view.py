"""A saved view of an experiment in MLflow: the columns of its list of runs, and its charts.

A list of runs begins without a metric or a tag, and a browser keeps what its user changes of it. What can be given to
everybody is a view: a tag of the experiment, which MLflow's pages offer under "Views", and which a link can name. Its
form is that of MLflow 3.17 (JSON in JSON); pages that do not know it show their own columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from mlflow import MlflowClient
from mlflow.entities import Run

IN_MLFLOW = "workflowType=machine_learning"  # otherwise MLflow shows its pages for LLM applications
NAME = "Results"  # among the views
KEY = "finetune"  # in links
TAG = f"mlflow.sharedViewState.{KEY}"  # of the experiment
CURVES = "curves"  # the section of charts that comes first
VERDICT_TAG = "finetune.verdict"  # of a run: what it comes to, in a phrase
COMPUTED_TAG = "finetune.computed"  # of a run: the steps that ran, and did not only find their artifacts


@dataclass(frozen=True)
class View:
    """What is shown of the runs of an experiment.

    columns: metrics and tags by their group, `metrics` or `tags`, each with its width in pixels. charts: the metrics of
    each chart of curves, by its title; without any, MLflow draws its own.
    """

    columns: Mapping[tuple[str, str], int]
    charts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def save_view(tracking: MlflowClient, experiment: str, view: View) -> None:
    """Gives the experiment the view, unless it has the same one."""
    saved = json.dumps({"name": NAME, "createdAt": 0, "updatedAt": 0, "state": json.dumps(_state(view))})
    if tracking.get_experiment(experiment).tags.get(TAG) != saved:
        tracking.set_experiment_tag(experiment, TAG, saved)


def runs_page(tracking: MlflowClient, experiment: str) -> str:
    """Returns the address of an experiment's runs on MLflow's pages, in the saved view if it has one."""
    shown = f"&viewStateShareKey={KEY}" if TAG in tracking.get_experiment(experiment).tags else ""
    return f"/#/experiments/{experiment}/runs?{IN_MLFLOW}{shown}"


def run_page(run: Run) -> str:
    """Returns the address of a run on MLflow's pages."""
    return f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}?{IN_MLFLOW}"


def curves_page(run: Run, metrics: Sequence[str]) -> str:
    """Returns the address of a run's curves, in one chart, on MLflow's pages."""
    first = json.dumps(metrics[0])
    query = {
        "runs": json.dumps([run.info.run_id]),
        "experiments": json.dumps([run.info.experiment_id]),
        "metric": first,
        "plot_metric_keys": json.dumps(list(metrics), separators=(",", ":")),
        "x_axis": json.dumps("step"),
    }
    return f"#/metric?{urlencode(query)}&{IN_MLFLOW}"


def _state(view: View) -> dict[str, Any]:
    widths = {f"{group}.`{name}`": width for (group, name), width in view.columns.items()}
    columns = [*widths, "attributes.`Models`"]
    state = {"selectedColumns": columns, "columnOrder": columns, "columnWidths": widths}
    if not view.charts:
        return state
    return {
        **state,
        "compareRunCharts": [_chart(title, names) for title, names in view.charts.items()],
        "compareRunSections": [{"uuid": CURVES, "name": CURVES, "display": True, "isReordered": False}],
        "isAccordionReordered": True,  # otherwise sections are sorted by name
    }


def _chart(title: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Returns a chart of lines as MLflow's pages keep one, with all that they read of it."""
    return {
        "type": "LINE",
        "uuid": title,
        "metricSectionId": CURVES,
        "displayName": title,
        "metricKey": names[0],
        "selectedMetricKeys": names,
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": 10,
        "scaleType": "linear",
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "selectedXAxisMetricKey": "",
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
        "lineSmoothness": 0,
        "ignoreOutliers": False,
        "range": {},
        "yAxisKey": "metric",
        "yAxisExpressions": [],
    }
