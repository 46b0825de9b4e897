"""`make up`: how it stops, what it finds after it was killed, and both servers on PostgreSQL."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
from sqlalchemy import create_engine, text

from lib.processes.keeper import is_over
from tests.support.e2e import PROJECT, Home, free_port, wait_until
from tests.support.postgres import PASSWORD, postgres
from tests.support.said import after_the_first_line
from tests.support.up import up

pytestmark = pytest.mark.e2e

ADHOC = "finetune-classifier/classify-adhoc"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as address:
        yield f"{address}team"


def parameters(small_data: Path, epochs: int) -> dict[str, Any]:
    changes = {"url": str(small_data), "epochs": epochs, "learning_rate": 0.001, "registered_name": "up"}
    changes["overrides"] = "training:\n  batch_size: 16\n  evaluate_every: 5\n"
    return {"recipe": str(PROJECT / "tests" / "support" / "quick.yaml"), "changes": changes}


def rows(database: str, name: str, query: str) -> list[tuple[Any, ...]]:
    """What a query finds in one of the two databases."""
    engine = create_engine(database.replace("postgresql://", "postgresql+psycopg2://").removesuffix("team") + name)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_postgresql_holds_both_servers_and_the_end_of_it_all_is_told_to_both(
    tmp_path: Path, small_data: Path, database: str
) -> None:
    home = Home(tmp_path / "home", small_data)
    with up(home, DATABASE=database) as running:
        assert "created the database team_prefect\ncreated the database team_mlflow\n" in running.said
        assert running.run(ADHOC, parameters(small_data, epochs=1))["state_type"] == "COMPLETED"
        assert not (home.folder / "mlflow.db").exists()
        assert not (home.folder / "prefect" / "prefect.db").exists()

        trained = running.start(ADHOC, parameters(small_data, epochs=10_000))
        running.wait_for_training(trained)
        waiting = running.start(ADHOC, parameters(small_data, epochs=1))
        of_it = running.everything()
        secrets = (PASSWORD, quote(PASSWORD, safe=""))
        assert not [part for process in of_it for part in process.cmdline() for secret in secrets if secret in part]
        assert running.stop(signal.SIGINT) == 0
        assert all(is_over(process) for process in of_it)
    states = dict(rows(database, "team_prefect", "select id::text, state_type::text from flow_run"))
    assert states[trained] == "CRASHED"
    assert states[waiting] == "SCHEDULED"
    found = rows(database, "team_mlflow", "select status from runs order by start_time")
    assert [status for (status,) in found] == ["FINISHED", "KILLED"]
    written = [file for file in home.folder.rglob("*") if file.is_file() and file.stat().st_size < 2**20]
    assert not [file for file in written for secret in secrets if secret.encode() in file.read_bytes()]


def test_what_a_killed_one_has_left_is_ended_and_its_runs_are_put_right(
    tmp_path: Path, small_data: Path, give_database: Callable[[Home], None]
) -> None:
    home = Home(tmp_path / "home", small_data)
    give_database(home)
    with up(home) as killed:
        trained = killed.start(ADHOC, parameters(small_data, epochs=10_000))
        killed.wait_for_training(trained)
        left = killed.everything()[1:]
        os.kill(killed.process.pid, signal.SIGKILL)
        killed.process.wait()
    wait_until(lambda: all(is_over(process) for process in left), seconds=30, what="the end of what it had started")
    # Its run was asked to end, and gave the card back: the servers ended after it.
    assert list(home.folder.glob("prefect/concurrency_leases/*-*.json")) == []
    with up(home) as running:
        assert running.flow_run(trained)["state_type"] == "CRASHED"
        (dead,) = running.tracked(trained)
        assert dead["info"]["status"] == "KILLED"
        after = running.start(ADHOC, parameters(small_data, epochs=1))
        running.wait_until_it_runs(after)
        # A worker that dies is started again, and no run of the dead one goes on beside the next ones.
        children = psutil.Process(running.process.pid).children()
        (keeper,) = [child for child in children if "worker" in child.cmdline()]
        begun = keeper.children(recursive=True)
        keeper.kill()
        assert running.ended(after)["state_type"] == "CRASHED"
        wait_until(lambda: all(is_over(process) for process in begun), seconds=30, what="the end of the run")
        running.wait_until_it_runs(running.start(ADHOC, parameters(small_data, epochs=1)))
        assert running.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("taken", ["prefect", "mlflow"])
def test_a_taken_port_is_one_sentence_and_nothing_is_left(tmp_path: Path, small_data: Path, taken: str) -> None:
    home = Home(tmp_path / "home", small_data)
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = {"prefect": free_port(), "mlflow": free_port(), taken: other.getsockname()[1]}
        done = home.call(*(f"--{name}-port={port}" for name, port in ports.items()), module="flows.up")
    assert done.returncode == 2
    assert re.fullmatch(
        rf"error: port {ports[taken]} for \w+ is taken: .*--{taken}-port\)\n", after_the_first_line(done.stderr)
    )


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("sqlite:///x.db", "DATABASE begins with sqlite://, but both servers need PostgreSQL"),
        ("nonsense", "DATABASE is no address of a database"),
        ("postgresql://ann:geheim@127.0.0.1:1/", "PostgreSQL at postgresql://127.0.0.1:1/ cannot be used"),
    ],
)
def test_a_wrong_database_is_one_sentence_without_the_password(
    tmp_path: Path, small_data: Path, address: str, sentence: str
) -> None:
    done = Home(tmp_path / "home", small_data, {"DATABASE": address}).call(module="flows.up")
    assert done.returncode == 2
    error = after_the_first_line(done.stderr)
    assert error.startswith(f"error: {sentence}")
    assert "geheim" not in done.stderr
    assert len(error.splitlines()) == 1


def test_without_a_server_there_is_nothing_to_register_with(tmp_path: Path, small_data: Path) -> None:
    done = Home(tmp_path / "home", small_data).call(module="flows.deploy")
    assert done.returncode == 2
    error = after_the_first_line(done.stderr)
    assert error.startswith("error: no server of this project is running here: start it with `finetune up`")
