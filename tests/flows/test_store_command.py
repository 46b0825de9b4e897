"""`finetune store`: what it prints, and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.store import main
from lib.store.artifacts import Artifact, key_of
from lib.store.folder import FolderStore
from tasks.record.mlflow_run import client
from tests.support.said import after_the_first_line

SIZE = 2500


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """The store of a home of its own, on a terminal that is wide enough."""
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    return FolderStore(tmp_path / "home" / "store")


def publish(store: FolderStore, step: str, name: str = "", **inputs: Artifact) -> Artifact:
    ingredients = {"step": step, "name": name, "inputs": {made: artifact.digest for made, artifact in inputs.items()}}
    with store.write(step, key_of(ingredients), ingredients) as folder:
        (folder / "data.txt").write_text(f"{step} {name}".ljust(SIZE))
    artifact = store.find(step, key_of(ingredients))
    assert artifact is not None
    return artifact


def object_of(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_list_shows_every_artifact(shelf: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    finetune = publish(shelf, "finetune")
    publish(shelf, "evaluate", finetune=finetune)
    publish(shelf, "finetune", "tried")
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert [row[0].partition("/")[0] for row in rows] == ["finetune", "evaluate", "finetune"]
    assert rows[0][0] == f"finetune/{finetune.key[:12]}"
    assert [row[4] for row in rows] == ["yes", "yes", "no"]
    assert lines[-1].startswith("3 artifacts, ")
    assert lines[-1].endswith(f", in {shelf.root}")


def test_list_as_json_has_whole_keys_and_plain_numbers(shelf: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    split = publish(shelf, "split")
    finetune = publish(shelf, "finetune", split=split)
    assert main(["list", "--json"]) == 0
    listed = object_of(capsys)
    assert listed["store"] == str(shelf.root)
    one, two = listed["artifacts"]
    assert (one["step"], one["key"], one["digest"]) == ("split", split.key, split.digest)
    assert (two["key"], two["inputs"], two["referenced"]) == (finetune.key, {"split": split.digest}, False)
    assert two["size"] > SIZE


def test_what_either_use_case_is_for_and_all_before_it_is_referenced(
    shelf: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = publish(shelf, "finetune_instructions", tokenize_entries=publish(shelf, "tokenize_entries"))
    answers = publish(shelf, "respond", finetune_instructions=trained)
    publish(shelf, "evaluate_answers", finetune_instructions=trained, respond=answers)
    publish(shelf, "judge", respond=answers)
    publish(shelf, "evaluate", finetune=publish(shelf, "finetune"))
    publish(shelf, "finetune_instructions", "tried")
    assert main(["prune", "--unreferenced", "--json"]) == 0
    assert [entry["step"] for entry in object_of(capsys)["artifacts"]] == ["finetune_instructions"]
    assert shelf.find("finetune_instructions", trained.key) == trained


@pytest.mark.parametrize("deleted", [False, True], ids=["run", "deleted run of a version"])
def test_what_mlflow_refers_to_is_not_pruned(
    shelf: FolderStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    split = publish(shelf, "split")
    finetune = publish(shelf, "finetune", split=split)
    publish(shelf, "finetune", "tried", split=split)
    tracking = client()
    run = tracking.create_run("0", tags={"artifact.finetune": finetune.digest}).info.run_id
    if deleted:
        tracking.create_registered_model("mine")
        tracking.create_model_version("mine", "somewhere", run_id=run)
        tracking.delete_run(run)
    assert main(["prune", "--unreferenced", "--json"]) == 0
    assert [entry["step"] for entry in object_of(capsys)["artifacts"]] == ["finetune"]
    assert shelf.find("finetune", finetune.key) == finetune
    assert shelf.find("split", split.key) == split


def test_an_artifact_without_a_manifest_is_listed(shelf: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    publish(shelf, "split").file("manifest.json").unlink()
    assert main(["list"]) == 0
    assert "unknown" in capsys.readouterr().out


def test_verify_succeeds_on_whole_artifacts(shelf: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    publish(shelf, "split")
    assert main(["verify"]) == 0
    assert capsys.readouterr().out == f"1 artifact verified, none damaged, in {shelf.root}\n"


def test_verify_names_damage_and_exits_with_1(shelf: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    split = publish(shelf, "split")
    publish(shelf, "finetune")
    split.file("data.txt").unlink()
    assert main(["verify"]) == 1
    out = capsys.readouterr().out
    assert f"split/{split.key[:12]}" in out
    assert "data.txt is missing" in out
    assert "2 artifacts verified, 1 damaged" in out
    assert main(["verify", "--json"]) == 1
    assert object_of(capsys) == {
        "store": str(shelf.root),
        "verified": 2,
        "damaged": [{"step": "split", "key": split.key, "problems": ["data.txt is missing"]}],
    }


def test_prune_removes_and_says_what(shelf: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    used, tried = publish(shelf, "finetune"), publish(shelf, "finetune", "tried")
    publish(shelf, "evaluate", finetune=used)
    assert main(["prune", "--unreferenced"]) == 0
    out = capsys.readouterr().out
    assert f"finetune/{tried.key[:12]}" in out
    assert f"finetune/{used.key[:12]}" not in out
    assert "1 artifact and 0 leftovers removed: " in out
    assert (used.folder.exists(), tried.folder.exists()) == (True, False)


def test_prune_as_a_dry_run_removes_nothing(shelf: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    split = publish(shelf, "split")
    assert main(["prune", "--to-size", "1KB", "--dry-run"]) == 0
    assert "1 artifact and 0 leftovers would be removed: " in capsys.readouterr().out
    assert main(["prune", "--to-size=1KB", "--dry-run", "--json"]) == 0
    pruned = object_of(capsys)
    assert (pruned["dry_run"], pruned["remaining"]) == (True, 0)
    assert pruned["freed"] == pruned["artifacts"][0]["size"] > SIZE
    assert split.folder.exists()


def test_prune_by_age_spares_what_is_young(shelf: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    publish(shelf, "split")
    assert main(["prune", "--older-than", "1h", "--json"]) == 0
    assert object_of(capsys)["artifacts"] == []
    assert main(["prune", "--older-than", "0d", "--json"]) == 0
    assert len(object_of(capsys)["artifacts"]) == 1


def test_prune_of_damaged_artifacts_spares_whole_ones(shelf: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    whole, damaged = publish(shelf, "split"), publish(shelf, "finetune")
    damaged.file("data.txt").write_text("short")
    assert main(["prune", "--damaged"]) == 0
    assert (whole.folder.exists(), damaged.folder.exists()) == (True, False)


HOLD = """
import pathlib, signal, sys
from lib.store.folder import FolderStore
lock = FolderStore(pathlib.Path(sys.argv[1])).lock("split", sys.argv[2])
lock.acquire()
print("holding", flush=True)
signal.pause()
"""


def test_prune_says_what_a_running_process_keeps(shelf: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    split = publish(shelf, "split")
    arguments = [sys.executable, "-c", HOLD, str(shelf.root), split.key]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        status = main(["prune", "--to-size", "1KB"])
        process.kill()
    assert status == 0
    out = capsys.readouterr().out
    assert "1 artifact kept: a running process makes or needs it" in out
    assert "more than the 1.0 kB asked for" in out
    assert split.folder.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["prune"], "nothing says which artifacts may go"),
        (["prune", "--dry-run"], "nothing says which artifacts may go"),
        (["prune", "--older-than", "soon"], "'soon' is not an age: write hours, days or weeks as in 12h, 30d or 8w"),
        (["prune", "--older-than", "30"], "'30' is not an age"),
        (["prune", "--to-size", "5"], "'5' is not a size: write a number and a unit"),
        (["prune", "--to-size", "5 apples"], "'5 apples' is not a size"),
        (["prune", "--older", "30d"], "there is no flag --older: did you mean --older-than?"),
        (["tidy"], "invalid choice: 'tidy'"),
        ([], "the following arguments are required"),
    ],
)
def test_a_mistake_is_one_sentence_and_changes_nothing(
    shelf: FolderStore, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    split = publish(shelf, "split")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    error = captured.err if captured.err.startswith("error: ") else after_the_first_line(captured.err)
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert sentence in error
    assert captured.out == ""
    assert split.folder.exists()


@pytest.mark.parametrize(
    ("text", "size"), [("10KB", 10**4), ("2MB", 2 * 10**6), ("1.5GB", 15 * 10**8), ("2GiB", 2**31), ("1 tb", 10**12)]
)
def test_sizes_are_read_with_their_units(
    shelf: FolderStore, capsys: pytest.CaptureFixture[str], text: str, size: int
) -> None:
    """A file without blocks fills the store to exactly that size, and then to a byte more."""
    split = publish(shelf, "split")
    used = sum(path.stat().st_size for path in split.folder.iterdir())
    for excess in (0, 1):
        with (shelf.root / "big").open("wb") as big:
            big.truncate(size - used + excess)
        assert main(["prune", "--to-size", text, "--json"]) == 0
        assert len(object_of(capsys)["artifacts"]) == excess


def test_a_store_that_is_not_there_is_empty(shelf: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    assert object_of(capsys)["artifacts"] == []
    assert main(["verify"]) == 0
    assert main(["prune", "--unreferenced"]) == 0
    assert not shelf.root.exists()


def test_help_names_every_criterion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["prune", "--help"])
    assert exited.value.code == 0
    out = capsys.readouterr().out
    assert all(flag in out for flag in ("--older-than", "--to-size", "--unreferenced", "--damaged", "--dry-run"))


def test_the_command_needs_neither_prefect_nor_mlflow_nor_torch() -> None:
    """They take seconds to import."""
    code = "import sys, flows.store; print([name for name in ('prefect', 'mlflow', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
