"""What a run comes to once its model is registered, told to MLflow, Prefect and the registry in the same words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from lib.files.disk import disk_full_is_clear, into_place
from lib.markdown import plain
from lib.store.artifacts import Artifact
from lib.store.warnings import warnings_of
from tasks.environment import home
from tasks.record.mlflow_run import client, loss_warned, set_tags
from tasks.record.pages import links, page_in_mlflow, paragraphs, show_in_prefect, warnings_section
from tasks.record.track import Pages
from tasks.record.view import VERDICT_TAG
from tasks.registry.register import Registered

NOTE = "mlflow.note.content"  # MLflow's tag for a run's description, in Markdown
REPORT = "report.html"  # its name in MLflow's run


@dataclass(frozen=True)
class Finished:
    """A run whose model is registered.

    made: its artifacts by step. computed: the steps that ran, and did not only find theirs.
    run, flow_run: the ids of MLflow and Prefect; name: what it is called in both.
    """

    recipe: Any
    made: Mapping[str, Artifact]
    computed: frozenset[str]
    run: str
    flow_run: str
    name: str
    registered: Registered


@dataclass(frozen=True)
class Conclusion:
    """What a run comes to.

    sentences: what each page about the run begins with. phrase: the same where there is room for no more. card: the
    version's description in Markdown. page: the report in HTML; None: this use case has none.
    """

    sentences: tuple[str, ...]
    card: str
    phrase: str | None = None
    page: str | None = None


@task(
    name="report",
    task_run_name="report",
    description="Writes the report, and says what the run comes to in MLflow, Prefect and the registry",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def report(finished: Finished, pages: Pages, conclusion: Conclusion) -> Path | None:
    """Returns the report's file on this machine, if there is a report; a copy lies in MLflow's run. The model is
    registered, so it is only a warning if MLflow or Prefect does not take what is told."""
    file = None if conclusion.page is None else _write(conclusion.page, finished.run)
    with loss_warned("MLflow and Prefect do not have all that this run comes to: the same recipe run again tells it"):
        _tell(finished, pages, conclusion)
    return file


def _tell(finished: Finished, pages: Pages, conclusion: Conclusion) -> None:
    tracking = client()
    if conclusion.page is not None:
        tracking.log_text(finished.run, conclusion.page, REPORT)
    beginning = plain(" ".join(conclusion.sentences))
    warnings = warnings_section(warnings_of(finished.made.values()))
    leads = links(tracking, finished.run, trained=pages.trained, evaluated=pages.evaluated)
    tags = {NOTE: paragraphs(beginning, leads, warnings)}
    set_tags(tracking, finished.run, tags | ({} if conclusion.phrase is None else {VERDICT_TAG: conclusion.phrase}))
    version = tracking.get_model_version(finished.registered.name, finished.registered.version)
    if not version.description:  # that of a model which was registered earlier is by the run that made it
        tracking.update_model_version(version.name, version.version, conclusion.card)
    show_in_prefect(
        page_in_mlflow(tracking, finished.run),
        beginning=beginning,
        recipe=finished.recipe.name,
        pictures=dict.fromkeys(pages.pictures, pages.evaluated),
        more=paragraphs(warnings, pages.more),
    )


def _write(page: str, run: str) -> Path:
    file = home() / "reports" / f"{run}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    with disk_full_is_clear(file.parent):
        part.write_text(page, encoding="utf-8")
    into_place(part, file)
    return file
