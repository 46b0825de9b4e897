"""What a run comes to once its model is registered, told to MLflow, Prefect and the registry in the same words."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from lib.errors import StoreError
from lib.files.disk import disk_full_is_clear, give_way, into_place
from lib.markdown import plain
from lib.store.artifacts import Artifact
from lib.store.warnings import warnings_of
from tasks.environment import home
from tasks.record.mlflow_run import set_tags
from tasks.record.outbox import Record
from tasks.record.pages import links, paragraphs, show_in_prefect, warnings_section
from tasks.record.recording import Recording
from tasks.record.track import Pages
from tasks.record.view import VERDICT_TAG
from tasks.registry.register import Registered
from tasks.secrets import secrets_kept

LOG = logging.getLogger("finetune.report")
NOTE = "mlflow.note.content"  # MLflow's tag for a run's description, in Markdown
REPORT = "report.html"  # its name in MLflow's run
WAITS = "Its version waits to be registered: `finetune deliver` does that, and compares it with the champion."


@dataclass(frozen=True)
class Finished:
    """A run whose steps are done.

    made: its artifacts by step. computed: the steps that ran, and did not only find theirs.
    run, flow_run: the ids of MLflow and Prefect; name: what it is called in both. registered: None: its model is not
    registered yet.
    """

    recipe: Any
    made: Mapping[str, Artifact]
    computed: frozenset[str]
    run: str
    flow_run: str
    name: str
    registered: Registered | None


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


NOT_SAID = Conclusion(sentences=(), card="")


@task(
    name="report",
    task_run_name="report",
    description="Writes the report, and says what the run comes to in MLflow and the registry",
    cache_policy=NO_CACHE,
    persist_result=False,
)
@secrets_kept()
def report(recording: Recording, finished: Finished, pages: Pages, conclusion: Conclusion) -> None:
    """Says what a run comes to; done again, it changes nothing. Raises `FAILURES`."""
    tracking, run_id = recording.open()
    if conclusion.page is not None:
        tracking.log_text(run_id, conclusion.page, REPORT)
    leads = links(tracking, run_id, trained=pages.trained, evaluated=pages.evaluated)
    tags = {NOTE: paragraphs(_beginning(conclusion), leads, _warnings(finished))}
    set_tags(tracking, run_id, tags | ({} if conclusion.phrase is None else {VERDICT_TAG: conclusion.phrase}))
    if finished.registered is None:
        return
    version = tracking.get_model_version(finished.registered.name, finished.registered.version)
    if not version.description:  # that of a model which was registered earlier is by the run that made it
        tracking.update_model_version(version.name, version.version, conclusion.card)


def show_report(page: str | None, finished: Finished, pages: Pages, conclusion: Conclusion) -> None:
    """Shows on Prefect's page what a run comes to. page: of the run in MLflow; None: it is not there yet."""
    show_in_prefect(
        page,
        beginning=_beginning(conclusion),
        recipe=finished.recipe.name,
        pictures=dict.fromkeys(pages.pictures, pages.evaluated),
        more=paragraphs(_warnings(finished), pages.more),
    )


def write_report(conclusion: Conclusion, record: Record) -> Path | None:
    """Writes the report into a file on this machine, and returns it; None: this use case has none, or it cannot be
    written, which takes nothing else with it."""
    if conclusion.page is None:
        return None
    known = _place(record.id).exists()  # written when MLflow had no run yet
    try:
        return _write(conclusion.page, record.id if known else record.shown_id)
    except StoreError as error:
        LOG.warning("the report is not kept on this machine: %s", error)
    except OSError as error:
        LOG.warning("the report is not kept on this machine: %s cannot be used (%s)", error.filename, error.strerror)
    return None


def _beginning(conclusion: Conclusion) -> str:
    return plain(" ".join(conclusion.sentences))


def _warnings(finished: Finished) -> str:
    return warnings_section(warnings_of(finished.made.values()))


def _write(page: str, run: str) -> Path:
    file = _place(run)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    with disk_full_is_clear(file.parent):
        part.write_text(page, encoding="utf-8")
    give_way(file)
    into_place(part, file)
    return file


def _place(run: str) -> Path:
    return home() / "reports" / f"{run}.html"
