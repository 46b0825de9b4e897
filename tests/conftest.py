"""Fixtures that many tests share: the real data where it is present, a store, a home of its own for every test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.artifacts import Store

PROJECT = Path(__file__).resolve().parents[1]
REAL_DATA = PROJECT.parent / "shared" / "data"

# Set before anything imports Prefect or MLflow: no test may write into the project's own .finetune.
os.environ.pop("PREFECT_API_URL", None)
os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real files, which are not part of the project."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"the real data is not here: {REAL_DATA}")
    return REAL_DATA


@pytest.fixture
def warnings_heard() -> list[str]:
    """The sentences that the store of this test warned with."""
    return []


@pytest.fixture
def store(tmp_path: Path, warnings_heard: list[str]) -> Store:
    """An empty artifact store."""
    return Store(tmp_path / "store", warn=warnings_heard.append)


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
