"""Reports drift of scored messages: measures, a table, and a Prefect event.

Every run that finds drift emits the event; its receiver (`deploy/automations.yaml`) decides how often to act.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from pydantic import BaseModel

from lib.evaluation.drift.comparison import Comparison, compare
from tasks.engine.log import run_log
from tasks.engine.pageless import create_markdown_artifact
from tasks.record.mlflow_run import loss_warned
from tasks.report.drift import DRIFTED_TAG
from tasks.secrets import secrets_kept

if TYPE_CHECKING:
    from lib.recipes.scoring import Drift
    from tasks.use.score import Chosen, Scored

EVENT = "finetune.drift"
RESOURCE = "finetune.scoring"  # prefix of the event's resource, before the registered model's name
TAG = "finetune.drift"  # of the MLflow run: the report's sentence


class DriftReport(BaseModel):
    """The result of a drift check. `measured`: whether there were messages and a profile; `why`: in a sentence."""

    measured: bool
    drifted: bool
    why: str
    metrics: dict[str, float] = {}

    @property
    def tags(self) -> dict[str, str]:
        """Those of the MLflow run."""
        measured = {DRIFTED_TAG: "yes" if self.drifted else "no"} if self.measured else {}
        return {TAG: self.why, **measured}


@task(
    name="drift",
    task_run_name="drift",
    description="Compares the scored messages with those that the classifier was measured on",
    cache_policy=NO_CACHE,
    persist_result=False,
)
@secrets_kept()
def drift(settings: Drift, chosen: Chosen, scored: Scored) -> DriftReport:
    """Compares, shows every measure in Prefect, and emits `EVENT` if the messages have drifted."""
    report, comparison = _judge(settings, chosen, scored)
    with loss_warned("Prefect does not show whether the messages have drifted"):
        if comparison is not None:
            create_markdown_artifact(
                _page(chosen, comparison, report), key="drift", description=f"Drift of {chosen.model.name}"
            )
    if report.drifted:
        run_log().warning("%s", report.why)
        _emit(chosen, report)
    return report


def _judge(settings: Drift, chosen: Chosen, scored: Scored) -> tuple[DriftReport, Comparison | None]:
    model, tally = chosen.model, scored.result.tally
    if chosen.profile is None:
        why = (
            f"drift is not measured: {model.name} {model.version} was registered without a profile of its messages;"
            " fine-tune again, and the next version has one"
        )
        return DriftReport(measured=False, drifted=False, why=why), None
    if tally is None or not tally.messages:
        return DriftReport(measured=False, drifted=False, why="drift is not measured: no message was scored"), None
    comparison = compare(chosen.profile, tally, **settings.model_dump())
    drifted = comparison.drifted
    if drifted:
        found = ", ".join(f"{m.what} {m.value:.3g} (threshold {m.threshold:g})" for m in drifted)
        why = f"messages have drifted from those that {model.name} {model.version} was measured on: {found}"
    else:
        why = (
            comparison.too_few
            or f"no drift: no measure exceeds its threshold beyond chance ({tally.messages:,} messages)"
        )
    return DriftReport(measured=True, drifted=bool(drifted), why=why, metrics=comparison.metrics()), comparison


def _page(chosen: Chosen, comparison: Comparison, report: DriftReport) -> str:
    lines = [
        f"# {report.why[0].upper()}{report.why[1:]}",
        "",
        f"{comparison.messages:,} messages, against {comparison.profile_messages:,} that {chosen.model.name}"
        f" {chosen.model.version} was measured on. Tokens that its training did not have:"
        f" {comparison.unknown:.1%}, before {comparison.profile_unknown:.1%}.",
        "",
        "| measure | value | threshold | chance stays below | exceeded |",
        "|---|---|---|---|---|",
    ]
    for measure in comparison.measures:
        cells = (measure.value, measure.threshold, measure.chance)
        exceeded = "**yes**" if measure.exceeded else "no"
        lines.append(f"| {measure.what} | {' | '.join(f'{cell:.4g}' for cell in cells)} | {exceeded} |")
    return "\n".join(lines) + "\n"


def _emit(chosen: Chosen, report: DriftReport) -> None:
    name, version = chosen.model.name, chosen.model.version
    emit_event(
        EVENT,
        resource={
            "prefect.resource.id": f"{RESOURCE}.{name}",
            "prefect.resource.name": name,
            "finetune.model.version": version,
        },
        payload={"why": report.why, "metrics": report.metrics, "model": name, "version": version},
    )
