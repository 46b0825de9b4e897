"""Of which runs Prefect's server is told later how they ended."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType

from flows.run.unfinished import Unfinished, all_noted, begun, tell_ends
from lib.files.sealed import sealed
from lib.processes.identity import this_process

API = "http://prefect.test/api"


class Told:
    """Stands in for a server that takes all runs for running, and notes as what it is told that they ended."""

    def __init__(self) -> None:
        self.ends: dict[UUID, StateType] = {}

    def read_flow_run(self, run: UUID) -> FlowRun:
        return FlowRun(id=run, flow_id=uuid4(), state=State(type=StateType.RUNNING))

    def set_flow_run_state(self, run: UUID, state: State[Any], *, force: bool) -> None:
        assert force
        self.ends[run] = state.type


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Unfinished:
    """A run of this process."""
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path))
    return begun(str(uuid4()), API)


def changed(noted: Unfinished, **of_process: int | str) -> UUID:
    """The id of another run, of a process that differs."""
    process = noted.process.model_copy(update=of_process)
    other = noted.model_copy(update={"flow_run": uuid4(), "process": process})
    other.save()
    return other.flow_run


def told(api: str = API) -> dict[UUID, StateType]:
    server = Told()
    tell_ends(cast(SyncPrefectClient, server), api)
    return server.ends


def test_a_run_whose_process_was_killed_crashed_and_is_told_once(noted: Unfinished) -> None:
    killed = changed(noted, began=this_process().began - 1)
    assert told(api="http://other.test/api") == {}
    assert told() == {killed: StateType.CRASHED}
    assert told() == {}
    assert noted.file.exists()


def test_a_run_of_another_machine_in_a_shared_or_copied_home_goes_on(noted: Unfinished) -> None:
    elsewhere = changed(noted, host="another")
    assert told() == {}
    assert noted.model_copy(update={"flow_run": elsewhere}).file.exists()


def test_a_damaged_note_is_set_aside_and_named_and_what_cannot_be_read_now_or_is_older_is_not(
    noted: Unfinished, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", logger="finetune")
    noted.file.write_text(noted.model_dump_json())  # as before notes had a checksum
    assert list(all_noted()) == [noted]
    with monkeypatch.context() as patch:
        for number in (errno.EMFILE, errno.EIO, errno.EACCES):
            patch.setattr(Path, "read_bytes", refusing(number))
            assert list(all_noted()) == []
    assert caplog.text == ""
    assert list(all_noted()) == [noted]
    content = sealed(noted.model_dump_json()).replace("CRASHED", "COMPLETED")
    noted.file.write_text(content)
    assert list(all_noted()) == []
    assert f"{noted.file} was damaged and is {noted.file.name}.damaged now" in caplog.text
    assert noted.file.with_name(f"{noted.file.name}.damaged").read_text() == content
    assert list(all_noted()) == []
    assert caplog.text.count("was damaged") == 1


def refusing(number: int) -> Callable[[Path], bytes]:
    """Reads as a system does that refuses with this error."""

    def read(path: Path) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    return read


def test_a_run_that_has_ended_is_told_as_what_by_any_machine(noted: Unfinished) -> None:
    noted.model_copy(update={"process": this_process().model_copy(update={"host": "another"})}).end(None)
    assert told() == {noted.flow_run: StateType.COMPLETED}
    assert not noted.file.exists()
