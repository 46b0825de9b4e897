"""MLflow's SQLite file: killed while it is made or brought up to date, older, newer, and emptied."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import mlflow.store.db.utils
import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine, event

from lib.errors import ServiceError
from tasks.record.database import ready_database
from tasks.record.mlflow_run import client

pytestmark = pytest.mark.slow

OLDER = "7d34483879f0"  # a revision of MLflow's tables before the present one
STATEMENTS = 300  # that make the file, at the least


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "mlflow.db"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return tmp_path / "mlartifacts"


def killed(statement: int, work: Callable[[], object]) -> None:
    """Does the work in a process that is killed before this statement of SQL."""

    def kill_oneself() -> None:
        left = statement

        def count(*_: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(Engine, "before_cursor_execute", count)
        work()

    process = multiprocessing.get_context("fork").Process(target=kill_oneself)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def runs(database: Path) -> list[str]:
    """The names of all runs, as MLflow finds them."""
    tracking = MlflowClient(f"sqlite:///{database}")
    return [str(run.info.run_name) for run in tracking.search_runs(["0"])]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with one run."""
    database = tmp_path_factory.mktemp("made") / "mlflow.db"
    ready_database(database, database.parent / "mlartifacts")
    MlflowClient(f"sqlite:///{database}").create_run("0", run_name="kept")
    return database


def older(database: Path) -> None:
    """Makes the file as an older MLflow would have, with one run."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config, create_sqlalchemy_engine
    from mlflow.store.tracking.dbmodels.initial_models import Base

    engine = create_sqlalchemy_engine(f"sqlite:///{database}")  # type: ignore[no-untyped-call]
    Base.metadata.create_all(engine)
    config = _get_alembic_config(f"sqlite:///{database}")  # type: ignore[no-untyped-call]
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, OLDER)
    engine.dispose()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO experiments (experiment_id, name, lifecycle_stage) VALUES (0, 'a', 'active')")
        connection.execute(
            "INSERT INTO runs (run_uuid, name, user_id, experiment_id, status, lifecycle_stage, start_time,"
            " artifact_uri) VALUES ('r', 'kept', 'me', 0, 'FINISHED', 'active', 1, '/files')"
        )


def test_a_kill_while_it_is_made_leaves_nothing_that_the_next_run_minds(database: Path, files: Path) -> None:
    killed(40, lambda: ready_database(database, files))
    killed(STATEMENTS, lambda: ready_database(database, files))
    assert not database.exists()
    ready_database(database, files)
    assert runs(database) == []
    assert [file.name for file in database.parent.iterdir()] == [database.name]


def test_any_folder_may_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "50%41? #1"
    monkeypatch.setenv("FINETUNE_HOME", str(home))
    monkeypatch.setenv("PREFECT_HOME", str(home / "prefect"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client().create_run("0", run_name="kept")
    assert [run.info.run_name for run in client().search_runs(["0"])] == ["kept"]
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        assert connection.execute("SELECT name FROM runs").fetchall() == [("kept",)]


def test_one_that_mlflow_left_half_made_is_made_anew(database: Path, files: Path) -> None:
    killed(STATEMENTS, lambda: MlflowClient(f"sqlite:///{database}").search_experiments())
    assert database.stat().st_size
    ready_database(database, files)
    assert runs(database) == []


def test_an_older_one_is_brought_up_to_date_on_a_copy_that_takes_its_place(database: Path, files: Path) -> None:
    older(database)
    before = database.read_bytes()
    killed(20, lambda: ready_database(database, files))
    assert database.read_bytes() == before
    ready_database(database, files)
    assert runs(database) == ["kept"]
    assert [file.name for file in database.parent.iterdir()] == [database.name]


def test_what_a_run_of_the_older_mlflow_writes_meanwhile_is_refused_rather_than_lost(
    database: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older(database)
    upgrade = mlflow.store.db.utils._upgrade_db

    def upgrade_beside_a_run(engine: Engine) -> None:
        upgrade(engine)  # type: ignore[no-untyped-call]
        with pytest.raises(sqlite3.OperationalError, match="locked"):  # so it waits
            live.execute("UPDATE runs SET name = 'lost'")

    monkeypatch.setattr("mlflow.store.db.utils._upgrade_db", upgrade_beside_a_run)
    with closing(sqlite3.connect(database, timeout=0)) as live:
        assert live.execute("SELECT name FROM runs").fetchall() == [("kept",)]
        ready_database(database, files)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            live.execute("UPDATE runs SET name = 'lost'")
    assert runs(database) == ["kept"]


def test_one_that_is_ready_is_not_touched(made: Path, database: Path, files: Path) -> None:
    shutil.copy(made, database)
    before = database.stat()
    ready_database(database, files)
    assert (database.stat().st_ino, database.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA user_version = 0")  # as MLflow itself makes it
    ready_database(database, files)
    assert (database.stat().st_ino, runs(database)) == (before.st_ino, ["kept"])


def test_one_of_a_newer_mlflow_is_refused_and_kept(made: Path, database: Path, files: Path) -> None:
    shutil.copy(made, database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'f00'")
        connection.execute("PRAGMA user_version = 1")
    before = database.read_bytes()
    with pytest.raises(ServiceError, match=r"mlflow\.db was written by a newer MLflow"):
        ready_database(database, files)
    assert database.read_bytes() == before


def test_an_emptied_one_is_not_taken_for_a_new_one(database: Path, files: Path) -> None:
    database.touch()
    (files / "run").mkdir(parents=True)
    with pytest.raises(ServiceError, match=r"mlflow\.db is empty, but .*mlartifacts has files of runs"):
        ready_database(database, files)
    assert database.stat().st_size == 0
