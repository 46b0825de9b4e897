"""What the registry's record and the scoring runs say, as the verdict is given it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from lib.evaluation.classify.verdict import Challenge
from tasks.record.mlflow_run import AwayError
from tasks.record.outbox import Outbox, new_record
from tasks.record.recording import Recording
from tasks.registry.register import Registered
from tasks.report.classify import challenge_of
from tasks.report.conclusion import Conclusion, Finished, report, write_report
from tasks.report.drift import DRIFTED_TAG, SCORING, drift_since
from tests.support.e2e import free_port

NUMBERS = {
    **{"accuracy": 0.97, "champion/accuracy": 0.95, "wins": 9.0, "losses": 3.0, "p_value": 0.146},
    "messages": 300.0,
}


def registered(**fields: Any) -> Registered:
    return Registered(**{"name": "sms", "version": "4", "new": True, **fields})


def test_a_duel_is_told_with_its_figures_and_the_recipes_significance() -> None:
    told = challenge_of(registered(promotion="kept", champion="3", compared=NUMBERS), 0.2)
    assert told is not None
    assert told.rival is not None
    assert (told.champion, told.messages, told.accuracy) == ("3", 300, 0.97)
    assert (told.rival.name, told.rival.accuracy, told.rival.relation) == ("version 3", 0.95, "better")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        (
            {"promotion": "first", "aliases": ["champion"], "compared": {"accuracy": 0.97, "messages": 300.0}},
            Challenge("first"),
        ),
        ({"promotion": "first", "new": False}, Challenge("first", past=True, reversed=True)),
        (
            {"promotion": "kept", "champion": "3", "aliases": ["champion"], "new": False},
            Challenge("kept", "3", past=True, reversed=True),
        ),
        ({"promotion": "not comparable", "champion": "3"}, Challenge("not comparable", "3")),
        # Decided where the frozen test set is not known any more.
        ({"promotion": "kept", "champion": "3", "compared": {"p_value": 0.1}}, Challenge("kept", "3")),
    ],
)
def test_without_a_duel_only_the_outcome_is_told(fields: dict[str, Any], expected: Challenge | None) -> None:
    assert challenge_of(registered(**fields), 0.05) == expected


def test_drift_is_what_the_last_scoring_run_of_this_version_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, new_database: Path
) -> None:
    uri = f"sqlite:///{shutil.copyfile(new_database, tmp_path / 'mlflow.db')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert drift_since(registered()) == ""  # nothing was ever scored
    tracking = MlflowClient(uri)
    scoring = tracking.create_experiment(SCORING)

    def scored(start: int, **tags: str) -> None:
        of_model = {"model.name": "sms", "model.version": "4", **tags}
        tracking.create_run(scoring, start_time=start, tags=of_model)

    scored(1_000, **{DRIFTED_TAG: "no"})
    assert drift_since(registered()) == ""
    scored(1_700_000_000_000, **{DRIFTED_TAG: "yes"})
    scored(1_700_000_100_000, **{DRIFTED_TAG: "no", "model.version": "3"})
    scored(1_700_000_200_000)  # not measured: too few messages
    assert drift_since(registered()) == (
        "the messages that it scored last, on 2023-11-14, had drifted from those that it was measured on"
    )
    scored(1_700_000_300_000, **{DRIFTED_TAG: "no"})
    assert drift_since(registered()) == ""


def disk_full(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_report_is_on_this_machine_whatever_mlflow_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    assert drift_since(registered()) == ""
    (warning,) = caplog.records
    assert warning.getMessage().startswith("whether the messages have drifted since is not known (")
    record = new_record(experiment="finetune-classifier", name="a run", params={}, tags={})
    conclusion = Conclusion(("It is good.",), "card", page="<p>It is good.</p>")
    file = write_report(conclusion, record)
    assert file is not None
    assert file.read_text() == "<p>It is good.</p>"
    delivered = record.model_copy(update={"run": "a-run"})
    assert write_report(conclusion, delivered) == file  # it has been told where it is
    file.unlink()
    file.parent.rmdir()
    file.parent.touch()
    assert write_report(conclusion, delivered) is None  # and the run goes on
    assert caplog.records[-1].getMessage().startswith(f"the report is not kept on this machine: {file.parent} cannot")
    file.parent.unlink()
    with monkeypatch.context() as patch:
        patch.setattr("lib.files.disk.os.fsync", disk_full)
        assert write_report(conclusion, delivered) is None
    assert caplog.records[-1].getMessage().startswith("the report is not kept on this machine: No space left to write")
    finished = Finished(None, {}, frozenset(), run="a-run", flow_run="", name="", registered=registered())
    pages: Any = None
    with pytest.raises(AwayError, match="does not answer"):
        report.fn(Recording(delivered, Outbox()), finished, pages, conclusion)
