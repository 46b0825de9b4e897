"""The outbox: what is kept of a run, who delivers it and when, and that it is delivered once."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import prefect.main  # noqa: F401 - sets logging up when it is imported, which no test here may do while it listens
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from flows.deliver import main
from flows.run.delivery import Delivered, deliver_all, deliver_older, deliver_others
from lib.errors import StoreError
from lib.processes.identity import this_process
from tasks.record.mlflow_run import ERROR_TAG, RECORD_TAG, client, experiment_id
from tasks.record.outbox import Made, Outbox, Record, artifacts_of, new_record, servers
from tasks.record.recording import Recording, close_abandoned_runs, deliver, recorded
from tasks.running import UP, Note
from tests.support.e2e import free_port

pytestmark = pytest.mark.slow

EXPERIMENT = "serving"  # whose runs come to nothing besides their params and end


@pytest.fixture(autouse=True)
def home(new_home: Path) -> Path:
    return new_home


@pytest.fixture(scope="module")
def ended() -> str:
    """A process that has ended."""
    code = "from lib.processes.identity import this_process; print(this_process().name)"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def a_record(**changes: object) -> Record:
    record = new_record(experiment=EXPERIMENT, name="a run", params={"a.param": 1}, tags={"a tag": "b"})
    return record.model_copy(update=changes)


def kept(record: Record) -> Record:
    Outbox().save(record)
    return record


def runs() -> list[Run]:
    tracking = client()
    return list(tracking.search_runs([experiment_id(tracking, EXPERIMENT)], order_by=["attributes.start_time"]))


def why_not() -> list[str]:
    return [outcome.why_not for outcome in deliver_all()]


def test_a_record_is_read_as_it_was_written_and_damage_is_told(home: Path) -> None:
    record = kept(a_record(made=[Made(step="split", key="0" * 32, digest="d")]))
    assert Outbox().read(record.id) == record
    assert Outbox().references() == {("split", "d")}
    (home / "outbox" / f".{record.id}.part").write_text("half")
    assert Outbox().ids() == [record.id]
    file = home / "outbox" / f"{record.id}.json"
    whole = file.read_text()
    for damage in (whole.replace("a run", "a ran"), whole[:-9], "", "[]", "null", '{"record": 1, "sha256": ""}'):
        file.write_text(damage)
        with pytest.raises(StoreError, match="is damaged: MLflow will not show that run as it ended; remove the file"):
            Outbox().read(record.id)
    assert Outbox().records()[0] == []
    file.unlink()
    assert Outbox().read(record.id) is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "iterdir", refused)
        with pytest.raises(
            StoreError, match="outbox cannot be read \\(Too many open files\\), and records may wait in it"
        ):
            Outbox().ids()


def refused(folder: Path) -> Iterator[Path]:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(folder))


def test_a_run_is_told_once_though_it_is_delivered_twice() -> None:
    record = kept(a_record(status="FINISHED", ended=5000, started=2000, measured=4000, metrics={"rows": 3.0}))
    assert why_not() == [""]
    (run,) = runs()
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", 2000, 5000)
    assert (run.data.params, run.data.metrics) == ({"a.param": "1"}, {"rows": 3.0})
    assert (run.data.tags["a tag"], run.data.tags[RECORD_TAG]) == ("b", record.id)
    kept(record)  # as if removing it had been lost
    assert why_not() == [""]
    (again,) = runs()
    assert again.info.run_id == run.info.run_id
    assert len(client().get_metric_history(run.info.run_id, "rows")) == 1
    assert Outbox().ids() == []


def test_what_a_run_that_goes_on_has_told_is_left_alone() -> None:
    record = a_record()
    with recorded(record):
        assert list(deliver_all()) == []
        assert runs()[0].info.status == "RUNNING"
    assert runs()[0].info.status == "FINISHED"
    kept(record)  # not ended, and this process lives
    assert list(deliver_all()) == []
    assert Outbox().ids() == [record.id]


def test_a_record_that_somebody_else_delivers_is_left_to_them() -> None:
    record = kept(a_record(status="FINISHED", ended=1))
    with Outbox().lock(record.id):
        with Outbox().taken(record.id) as taken:
            assert taken is None
        assert why_not() == ["another process works with it"]
    assert why_not() == [""]


def test_the_run_of_a_process_that_was_killed_is_delivered_as_failed(ended: str) -> None:
    kept(a_record(process=ended))
    assert why_not() == [""]
    (run,) = runs()
    assert (run.info.status, run.data.tags[ERROR_TAG]) == ("FAILED", "the process was killed")


def test_a_run_that_had_ended_before_its_process_was_killed_stays_as_it_is(ended: str) -> None:
    tracking = client()
    with recorded(a_record()) as recording:
        pass
    kept(recording.record.model_copy(update={"status": "RUNNING", "ended": None, "process": ended}))
    assert why_not() == [""]
    assert tracking.get_run(recording.record.run).info.status == "FINISHED"
    assert Outbox().ids() == []


def test_runs_of_dead_processes_are_failed_but_for_those_whose_record_waits(ended: str) -> None:
    tracking = client()
    experiment = experiment_id(tracking, EXPERIMENT)
    of_this_home, of_another = a_record(process=ended, status="FINISHED", ended=7), a_record(process=ended)
    for record in (of_this_home, of_another):
        Recording(record, Outbox()).open()
    Outbox().remove(of_another.id)
    close_abandoned_runs(tracking, experiment)
    assert {run.data.tags[RECORD_TAG]: run.info.status for run in runs()} == {
        of_this_home.id: "RUNNING",
        of_another.id: "FAILED",
    }
    kept(of_another.model_copy(update={"status": "FINISHED", "ended": 9}))  # the other home delivers it after all
    assert why_not() == ["", ""]
    assert [(run.info.status, ERROR_TAG in run.data.tags) for run in runs()] == [("FINISHED", False)] * 2


def test_a_run_that_was_created_twice_because_an_answer_was_lost_is_there_once() -> None:
    record = kept(a_record(status="FINISHED", ended=1))
    tracking = client()
    for _ in range(2):
        tracking.create_run(experiment_id(tracking, EXPERIMENT), tags={RECORD_TAG: record.id})
    assert why_not() == [""]
    (run,) = runs()
    assert run.data.params == {"a.param": "1"}


def test_older_records_come_first_and_younger_ones_are_left(ended: str) -> None:
    own = a_record(started=2000)
    older, younger = (kept(a_record(started=at, status="FINISHED", ended=at)) for at in (1000, 3000))
    deliver_older(own)
    assert Outbox().ids() == [younger.id]
    (run,) = runs()
    assert run.data.tags[RECORD_TAG] == older.id


def test_records_of_other_names_come_after_ones_own_and_only_in_time() -> None:
    own, same, other = (
        a_record(started=at, status="FINISHED", ended=at, params={"registry.name": name})
        for at, name in ((3, "a"), (1, "a"), (2, "b"))
    )
    for record in (same, other):
        kept(record)
    deliver_older(own)
    assert Outbox().ids() == [other.id]
    deliver_others(own)
    assert Outbox().ids() == []


def test_on_a_slow_server_each_run_delivers_one_record_of_others_and_each_gets_its_turn(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("flows.run.delivery.BRIEFLY", 0.0)  # any server is too slow for that
    of_a_recipe = {"experiment": "finetune-classifier", "recipe": {"no": "recipe"}}
    broken = kept(a_record(started=1, status="FINISHED", ended=1, **of_a_recipe))
    first, second = (kept(a_record(started=at, status="FINISHED", ended=at)) for at in (2, 3))
    own = a_record(params={"registry.name": "own"})
    for left in ([broken, first, second], [broken, second], [broken], [broken]):
        deliver_others(own)
        assert Outbox().ids() == sorted(record.id for record in left)
    said = "records of earlier runs that wait for the next run, or `finetune deliver`: "
    assert [message for message in caplog.messages if said in message] == [f"{said}{left}" for left in (2, 2, 1)]


def test_what_killed_processes_had_only_begun_to_write_goes(home: Path) -> None:
    waiting = kept(a_record())
    held = Outbox().lock("held")
    with held:
        for record in ("begun", "held", waiting.id):
            for kind in ("part", "lock"):
                (home / "outbox" / f".{record}.{kind}").touch()
        Outbox().sweep()
        left = sorted(file.name for file in (home / "outbox").iterdir())
    own = [f".{waiting.id}.lock", f".{waiting.id}.part", f"{waiting.id}.json"]
    assert left == sorted([".held.lock", ".held.part", *own])


def test_a_record_that_cannot_be_delivered_does_not_end_the_run_that_tries() -> None:
    of_a_recipe = {"experiment": "finetune-classifier", "recipe": {"no": "recipe"}}
    broken = kept(a_record(started=1, status="FINISHED", ended=1, **of_a_recipe))
    deliver_older(a_record())
    assert Outbox().ids() == [broken.id]
    (reason,) = why_not()
    assert reason


def test_a_record_that_had_a_run_elsewhere_or_before_a_restore_gets_one_here(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = {"status": "FINISHED", "ended": 1}
    elsewhere = kept(a_record(run="0" * 32, server="http://mlflow.test", half_published=True, **ended))
    restored = kept(a_record(run="1" * 32, **ended))
    assert [outcome.why_not for outcome in deliver_all(elsewhere=True)] == ["", ""]
    assert {run.data.tags[RECORD_TAG]: run.info.status for run in runs()} == {
        elsewhere.id: "FINISHED",
        restored.id: "FINISHED",
    }


def test_a_record_of_a_deleted_run_waits_until_it_is_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    record = kept(a_record(status="FINISHED", ended=1))
    run_id = Recording(record, Outbox()).open()[1]
    client().delete_run(run_id)
    (reason,) = why_not()
    way_out = f"restore it, or let `finetune deliver --forget {record.id}` remove the record"
    assert reason == f"its run {run_id} was deleted there: {way_out}"
    client().restore_run(run_id)
    assert why_not() == [""]
    kept(record)
    with Outbox().lock(record.id):
        assert main(["--forget", record.id]) == 2
    assert f"the run of {Outbox().folder / record.id}.json goes on, or" in capsys.readouterr().err
    assert main(["--forget", record.id]) == 0
    assert capsys.readouterr().out == f"removed: {record.id}\n"
    assert main(["--forget", record.id]) == 2
    assert "waits in" in capsys.readouterr().err
    assert list(Outbox().folder.iterdir()) == []


def test_the_artifacts_of_a_record_that_are_gone_are_named() -> None:
    record = a_record(made=[Made(step="split", key="0" * 32, digest="d")])
    with pytest.raises(StoreError, match=r"the artifact split/0+ of run 'a run' is not in the store, or is damaged"):
        artifacts_of(record)


def test_the_door_says_what_it_delivered_and_what_waits_and_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == "0 delivered, none waiting\n"
    here = kept(a_record(name="one", started=1, status="FINISHED", ended=1))
    there = kept(a_record(name="two", started=2, status="KILLED", ended=2, server="http://mlflow.test"))
    places = []

    def deliver_and_note_where(**how: bool) -> Iterator[Delivered]:
        places.append(Path(tempfile.gettempdir()).parent)
        return deliver_all(**how)

    monkeypatch.setattr("flows.run.delivery.deliver_all", deliver_and_note_where)
    assert main([]) == 2
    assert places == [home / "tmp"]  # where the models that it registers lie meanwhile, and go after a kill
    run = runs()[0].info.run_id
    assert capsys.readouterr().out.splitlines() == [
        f"delivered: one, FINISHED, as MLflow's run {run}",
        f"waits: two ({there.id}): it was meant for http://mlflow.test: set MLFLOW_TRACKING_URI to it, or add --all",
        "1 delivered, 1 waiting",
    ]
    assert Outbox().read(here.id) is None
    assert main(["--all"]) == 0
    assert [each.info.status for each in runs()] == ["FINISHED", "KILLED"]
    (home / "outbox" / "damaged.json").write_text("{")
    assert main([]) == 2
    assert "damaged.json is damaged" in capsys.readouterr().err


def test_without_a_server_the_door_refuses_in_one_sentence_and_all_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with recorded(a_record()) as recording:
        pass
    assert main([]) == 2
    [error] = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert error.startswith("error: MLflow does not answer at http://127.0.0.1:")
    assert Outbox().ids() == [recording.record.id]


def test_a_server_that_runs_here_over_the_homes_file_is_that_file(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    address = "http://127.0.0.1:5000"
    note = Note(prefect="", mlflow=address, pages={}, over_files=True, processes=[this_process()])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert servers() == (address, "")
    (home / UP).write_text(note.model_dump_json())
    assert servers() == ("", "")  # where a run from a terminal goes, too
    ended = this_process().model_copy(update={"began": 1})
    for other in ({"processes": [ended]}, {"over_files": False}, {"mlflow": "http://127.0.0.1:5001"}):
        (home / UP).write_text(note.model_copy(update=other).model_dump_json())
        assert servers() == (address, "")


def test_no_password_is_kept(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:secret@127.0.0.1:{free_port()}")
    with recorded(a_record()) as recording:
        pass
    assert "secret" not in (home / "outbox" / f"{recording.record.id}.json").read_text()
    assert "secret" not in recording.waits


def test_a_record_is_alive_as_long_as_its_process_runs_it() -> None:
    mine = this_process()
    assert a_record().process == mine.name
    assert a_record().alive
    assert not a_record(process=mine.model_copy(update={"began": mine.began - 1}).name).alive
    assert not a_record(process=mine.model_copy(update={"host": "another"}).name).alive
    assert not a_record(process="123@45.67").alive  # as earlier versions named one
    assert not a_record(status="FINISHED").alive


def test_a_damaged_record_is_no_reason_to_end_a_run(home: Path) -> None:
    (home / "outbox").mkdir(parents=True)
    (home / "outbox" / "damaged.json").write_text(json.dumps({"sha256": "", "record": "{}"}))
    (home / "outbox" / "folder.json").mkdir()
    (home / "outbox" / ".folder.lock").mkdir()  # which no lock can be
    deliver_older(a_record())
    with pytest.raises(StoreError, match=r"damaged\.json is damaged"):
        Outbox().references()  # housekeeping must not take what it may name
    recording = Recording(kept(a_record(status="FINISHED", ended=1)), Outbox())
    deliver(recording)
    assert recording.waits == ""
    assert isinstance(client(), MlflowClient)
