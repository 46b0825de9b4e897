"""The home: what can be done without one, and the error when it cannot be used."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.environment import make_home, unusable_home_is_clear
from tasks.running import tracking_page
from tests.support.e2e import Home
from tests.support.said import after_the_first_line

pytestmark = pytest.mark.slow


@pytest.fixture
def in_the_way(tmp_path: Path) -> Home:
    """A home that cannot be created, because a file is where a folder above it must be."""
    (tmp_path / "file").write_text("")
    return Home(tmp_path / "file" / "home", tmp_path)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Home]:
    """A home on a file system that nobody, not even root, can write to."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a read-only file system is not permitted here")
    yield Home(folder / "deep" / "home", tmp_path)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_help_and_explanations_need_no_home(in_the_way: Home) -> None:
    done = in_the_way.call("--help")
    assert (done.returncode, done.stderr) == (0, "")
    done = in_the_way.call("--explain")
    assert (done.returncode, after_the_first_line(done.stderr)) == (0, "")


def test_the_store_of_an_impossible_home_is_empty(in_the_way: Home) -> None:
    done = in_the_way.call("list", module="flows.store")
    assert (done.returncode, after_the_first_line(done.stderr)) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("0 artifacts, ")


def refused(home: Home, *arguments: str, module: str = "flows.classify") -> str:
    """The one sentence with which a command ends."""
    done = home.call(*arguments, module=module)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    error = after_the_first_line(done.stderr)
    assert error.startswith("error: ")
    assert error.count("\n") == 1, done.stderr
    return error.removeprefix("error: ").rstrip()


@pytest.mark.parametrize(
    ("module", "arguments"), [("flows.classify", []), ("flows.classify", ["predict", "hi"]), ("flows.ui", [])]
)
def test_a_file_in_the_way_of_the_home_is_one_sentence(in_the_way: Home, module: str, arguments: list[str]) -> None:
    assert refused(in_the_way, *arguments, module=module) == (
        f"{in_the_way.folder} cannot be used (Not a directory): see that {in_the_way.folder} is a folder that can be"
        " written, or set FINETUNE_HOME to another one"
    )


def test_a_read_only_home_is_one_sentence(read_only: Home) -> None:
    assert refused(read_only) == (
        f"{read_only.folder.parent} cannot be used (Read-only file system): see that {read_only.folder} is a folder"
        " that can be written, or set FINETUNE_HOME to another one"
    )


def test_a_file_where_the_store_must_be_is_one_sentence(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", tmp_path)
    home.folder.mkdir()
    (home.folder / "store").write_text("")
    assert refused(home).startswith(f"{home.folder / 'store'} cannot be used (File exists): ")


def test_a_file_elsewhere_is_not_taken_for_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "home"))
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError), unusable_home_is_clear():
        (tmp_path / "file" / "other").mkdir()


@pytest.mark.parametrize(
    ("uri", "page"),
    [
        ("https://me:secret@mlflow.org/", "https://mlflow.org"),
        ("postgresql://me:secret@db.org/mlflow", "http://127.0.0.1:5000"),
        ("sqlite:////tmp/other.db", "http://127.0.0.1:5000"),
    ],
)
def test_the_page_of_a_tracking_address_shows_no_password(uri: str, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracking_page() == page


def test_a_new_home_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "deep" / "home"))
    make_home()
    assert (tmp_path / "deep" / "home").stat().st_mode & 0o777 == 0o700
    (tmp_path / "deep" / "home").chmod(0o750)
    make_home()
    assert (tmp_path / "deep" / "home").stat().st_mode & 0o777 == 0o750  # who opened it meant it
