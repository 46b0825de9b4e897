"""deploy/backup.sh and deploy/restore.sh: what was lost is back, over local files and over PostgreSQL."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from lib.processes.identity import this_process
from lib.store.folder import FolderStore
from tasks.record.outbox import Made, Outbox, Record, artifacts_of, new_record
from tasks.running import UI, Note
from tests.support.e2e import PROJECT, Home
from tests.support.postgres import postgres

pytestmark = pytest.mark.e2e

NAMES = ("team_prefect", "team_mlflow")


def script(
    name: str, home: Path, *arguments: str, database: str = "", python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FINETUNE_HOME": str(home), "DATABASE": database, "PYTHON": python}
    command = ["bash", str(PROJECT / "deploy" / name), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def backed_up(home: Path, folder: Path, *, database: str = "") -> str:
    """The new backup's folder."""
    done = script("backup.sh", home, str(folder), database=database)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


# -- local files ----------------------------------------------------------------------------------------------------


def one_that_waits(home: Home, monkeypatch: pytest.MonkeyPatch) -> Record:
    """A record in the outbox, with an artifact."""
    monkeypatch.setenv("FINETUNE_HOME", str(home.folder))
    manifest = next(FolderStore(home.folder / "store").manifests("evaluate"))
    made = [Made(step=manifest.step, key=manifest.key, digest=manifest.digest)]
    record = new_record(experiment="e2e", name="a run", params={}, tags={}).model_copy(update={"made": made})
    Outbox().save(record)
    return record


def test_a_lost_home_answers_again_after_it_was_restored(
    copied: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Home(copied.folder, copied.data)
    question = ("predict", "--name", "e2e", "Claim your prize now")
    before = alone.call(*question)
    assert before.returncode == 0, before.stderr
    (copied.folder / "tmp" / "killed").mkdir(parents=True)
    waits = one_that_waits(copied, monkeypatch)
    backup = backed_up(copied.folder, tmp_path / "backups")
    assert sorted(path.name for path in Path(backup).iterdir()) == ["home.tar", "mlflow.db"]
    assert Path(backup).stat().st_mode & 0o077 == 0
    shutil.rmtree(copied.folder)
    done = script("restore.sh", copied.folder, backup)
    assert (done.returncode, done.stderr) == (0, "")
    after = alone.call(*question)
    assert (after.returncode, after.stdout) == (0, before.stdout)
    assert not (copied.folder / "store" / "finetune").exists()  # which a run makes again
    assert not (copied.folder / "tmp").exists()
    assert artifacts_of(waits).keys() == {"evaluate"}  # MLflow will be told of it


def test_what_later_runs_would_make_again_is_there_on_request(copied: Home, tmp_path: Path) -> None:
    done = script("backup.sh", copied.folder, str(tmp_path / "backups"), "--store")
    assert done.returncode == 0
    assert script("restore.sh", tmp_path / "elsewhere", done.stdout.strip()).returncode == 0
    kept = {path.relative_to(copied.folder) for path in (copied.folder / "store").glob("*/[!.]*")}
    assert kept
    assert {path.relative_to(tmp_path / "elsewhere") for path in (tmp_path / "elsewhere/store").glob("*/[!.]*")} == kept


PARTS = {  # the program that fails, with which arguments, and the reason in the sentence
    "files": ("tar", "*--create*", "tar says why"),
    "artifacts that records name": ("tar", "*--append*", "tar says why"),
    "which ones these are": ("python", "*tasks.record.outbox*", "python says why"),
    "the disk": ("sync", "*", "sync says why"),
    "a database": ("", "", "file is not a database"),
}


def failing_program(name: str, arguments: str, folder: Path) -> None:
    """A program that fails with some arguments, and is the real one with others."""
    real = sys.executable if name == "python" else shutil.which(name)
    folder.mkdir()
    text = f'case "$*" in {arguments}) echo "{name} says why" >&2; exit 2;; esac\nexec {real} "$@"'
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("fault", PARTS)
def test_a_part_that_fails_is_one_sentence_and_no_backup(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, backups, programs = tmp_path / "home", tmp_path / "backups", tmp_path / "programs"
    name, arguments, reason = PARTS[fault]
    artifact = home / "store" / "step" / ("k" * 32)
    artifact.mkdir(parents=True)
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        connection.execute("create table kept (value text)")
    monkeypatch.setenv("FINETUNE_HOME", str(home))
    made = [Made(step="step", key="k" * 32, digest="")]
    Outbox().save(new_record(experiment="e", name="n", params={}, tags={}).model_copy(update={"made": made}))
    if name:
        failing_program(name, arguments, programs)
    else:
        (home / "mlflow.db").write_text("damaged " * 100)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    python = str(programs / "python") if name == "python" else sys.executable
    failed = script("backup.sh", home, str(backups), python=python)
    assert failed.returncode == 2, failed
    assert failed.stdout == ""
    (sentence,) = failed.stderr.splitlines()
    assert sentence.startswith("error: ")
    assert reason in sentence
    assert sentence.endswith("no back-up was made; mend that and run this again")
    assert [path.name for path in backups.iterdir()] == [".lock"]


def test_a_killed_backup_leaves_nothing_for_the_next_and_two_do_not_meet(tmp_path: Path) -> None:
    home, backups = tmp_path / "home", tmp_path / "backups"
    home.mkdir()
    (backups / ".partial.1").mkdir(parents=True)
    with (backups / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = script("backup.sh", home, str(backups))
    assert refused.stderr == f"error: another back-up is being made in {backups}: wait for it\n"
    backup = Path(backed_up(home, backups))
    assert {path.name for path in backups.iterdir()} == {".lock", backup.name}


def test_a_restore_that_fails_says_so(tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    backup.mkdir()
    (backup / "home.tar").write_text("half")
    (backup / "mlflow.db").write_text("whole")
    done = script("restore.sh", tmp_path / "home", str(backup))
    assert done.returncode == 2
    assert done.stderr.endswith(
        f"error: {backup} was not restored, for the reason above: mend that and run this again\n"
    )


@pytest.mark.parametrize("arguments", [(), ("folder", "--everything")])
def test_wrong_arguments_are_one_sentence(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = script("backup.sh", tmp_path, *arguments)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    done = script("restore.sh", tmp_path, str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path} is no backup: name a folder that deploy/backup.sh has printed\n"


def test_nothing_is_put_back_under_running_servers(tmp_path: Path) -> None:
    backup, home = tmp_path / "backup", tmp_path / "home"
    for folder in (backup, home):
        folder.mkdir()
    for name in ("home.tar", "mlflow.db"):
        (backup / name).touch()
    with FileLock(home / ".up.lock"):
        done = script("restore.sh", home, str(backup))
    assert done.returncode == 2
    assert done.stderr == f"error: `make up` is running over {home}: stop it first\n"
    note = Note(prefect="", mlflow="", pages={}, over_files=True, processes=[this_process()])
    (home / UI).write_text(note.model_dump_json())
    done = script("restore.sh", home, str(backup))
    assert done.returncode == 2
    assert done.stderr == f"error: `make ui` is running over {home}: stop it first\n"
    assert not (home / "mlflow.db").exists()


# -- PostgreSQL -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as address:
        yield f"{address}team"


def engines(database: str) -> list[Engine]:
    plain = database.replace("postgresql://", "postgresql+psycopg2://").removesuffix("team")
    return [create_engine(plain + name, poolclass=NullPool) for name in NAMES]


def contents(database: str) -> list[str]:
    found = []
    for engine in engines(database):
        with engine.connect() as connection:
            found.append(str(connection.execute(text("select value from kept")).scalar_one()))
    return found


def test_both_databases_are_as_they_were(database: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    created = subprocess.run(
        [sys.executable, "-m", "flows.database", "true"], env={**os.environ, "DATABASE": database}, check=False
    )
    assert created.returncode == 0
    for engine, name in zip(engines(database), NAMES, strict=True):
        with engine.begin() as connection:
            connection.execute(text("create table kept (value text)"))
            connection.execute(text(f"insert into kept values ('of {name}')"))
    backup = backed_up(home, tmp_path / "backups", database=database)
    assert sorted(path.name for path in Path(backup).iterdir()) == ["home.tar", "mlflow.dump", "prefect.dump"]
    for engine in engines(database):
        with engine.begin() as connection:
            connection.execute(text("update kept set value = 'spoilt'"))

    with engines(database)[0].connect() as connection:
        connection.execute(text("select 1"))
        refused = script("restore.sh", home, backup, database=database)
    assert refused.returncode == 2
    assert refused.stderr == "error: 1 connections use the database team_prefect: stop the servers first\n"
    assert contents(database) == ["spoilt", "spoilt"]

    done = script("restore.sh", home, backup, database=database)
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(database) == [f"of {name}" for name in NAMES]


def test_a_backup_of_the_other_kind_is_refused(database: str, copied: Home, tmp_path: Path) -> None:
    backup = backed_up(copied.folder, tmp_path / "backups")
    done = script("restore.sh", tmp_path, backup, database=database)
    assert done.returncode == 2
    assert "is a backup of the other kind of database" in done.stderr
