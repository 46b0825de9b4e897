"""Where pages are said to be: on the ports of what runs here, else on the usual ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.processes.identity import this_process
from tasks.running import UI, UP, Note, page_here, tracking_page


@pytest.fixture(autouse=True)
def no_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def leave(file: Path, *, over_files: bool = True, began: int = 0) -> None:
    """A note of a server that is this process, or one that began so many ticks earlier and had its number."""
    me = this_process()
    note = Note(
        prefect="http://127.0.0.1:4321/api",
        mlflow="http://127.0.0.1:5432",
        pages={},
        over_files=over_files,
        processes=[me.model_copy(update={"began": me.began - began})],
    )
    file.write_text(note.model_dump_json())


@pytest.mark.parametrize("name", [UP, UI])
def test_pages_are_where_servers_run(tmp_path: Path, name: str) -> None:
    leave(tmp_path / name)
    assert page_here("prefect") == "http://127.0.0.1:4321"
    assert tracking_page() == page_here("mlflow") == "http://127.0.0.1:5432"


def test_without_servers_they_are_on_the_usual_ports(tmp_path: Path) -> None:
    assert page_here("prefect") is None
    assert tracking_page() == "http://127.0.0.1:5000"
    (tmp_path / UP).write_text('{"prefect": ')
    assert page_here("mlflow") is None


def test_servers_that_were_killed_or_show_other_runs_do_not_count(tmp_path: Path) -> None:
    leave(tmp_path / UP, began=5)
    leave(tmp_path / UI, over_files=False)
    assert page_here("prefect") is None


def test_a_server_that_is_named_counts_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(tmp_path / UP)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:secret@mlflow.test/")
    assert tracking_page() == "http://mlflow.test"
