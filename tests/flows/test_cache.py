"""The cache, seen from outside: whole runs in processes of their own, against a real Prefect server."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.e2e import PROJECT, STEPS, Home, digests, ran, wait_until

pytestmark = pytest.mark.e2e

FROM_FINETUNE_ON = ["finetune", "engine", "evaluate"]


def task_runs(api: str, flow_run: str) -> dict[str, Any]:
    """What Prefect's API says of each task run, by the name that its pages show."""
    answer = httpx.post(f"{api}/task_runs/filter", json={"flow_runs": {"id": {"any_": [flow_run]}}})
    return {run["name"]: run for run in answer.raise_for_status().json()}


def states(runs: dict[str, Any]) -> dict[str, str]:
    return {name: run["state"]["name"] for name, run in runs.items()}


def test_the_first_run_computes_every_step(finished: tuple[Home, Any], prefect_api: str) -> None:
    _, result = finished
    assert ran(result) == STEPS
    runs = task_runs(prefect_api, result["flow_run"])
    # No step asks the classifier about the frozen test set: `evaluate` has its answers.
    assert states(runs) == dict.fromkeys([*STEPS, "track", "register", "promote", "report"], "Completed")
    on_gpu = {name for name, run in runs.items() if "gpu" in run["tags"]}
    assert on_gpu == {"features", "finetune", "engine", "cross_validate", "evaluate"}


def test_a_second_run_reuses_every_step_and_prefect_says_cached(
    finished: tuple[Home, Any], again: tuple[Home, Any], prefect_api: str
) -> None:
    result = json.loads(again[1].stdout)
    assert ran(result) == []  # the copy lies in another folder: a moved store keeps its hits
    assert digests(result) == digests(finished[1])
    runs = task_runs(prefect_api, result["flow_run"])
    assert {step: states(runs)[step] for step in STEPS} == dict.fromkeys(STEPS, "Cached")
    assert {name for name, run in runs.items() if run["tags"]} == set()  # so that a hit waits for nobody's GPU
    assert result["metrics"] == finished[1]["metrics"]


def test_a_cached_run_imports_no_torch(again: tuple[Home, Any]) -> None:
    lines = [line for line in again[1].stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert ran(json.loads(again[1].stdout)) == []
    assert "lib.recipes.classify" in imported
    assert not imported & {"torch", "accelerate", "sklearn", "matplotlib", "safetensors"}


def test_a_learning_rate_reruns_finetune_and_what_follows(copied: Home, retrained: tuple[Home, Any]) -> None:
    verdicts = copied.explain("--training.learning_rate=0.002")
    assert verdicts["finetune"] == ("run", ["training.learning_rate changed 0.001 -> 0.002"])
    assert verdicts["evaluate"] == ("run", ["training.learning_rate changed 0.001 -> 0.002"])
    assert [step for step, (would, _) in verdicts.items() if would == "be reused"] == [
        step for step in STEPS if step not in FROM_FINETUNE_ON
    ]
    assert ran(retrained[1]) == FROM_FINETUNE_ON


def test_an_explanation_does_not_promise_what_cannot_be(copied: Home) -> None:
    verdicts = copied.explain("--split.seed=5", "--training.learning_rate=1e-4")
    assert verdicts["split"] == ("run", ["split.seed changed 123 -> 5"])
    assert verdicts["tokenize"] == ("depend", ["reused if holdout comes out the same"])
    assert verdicts["finetune"] == ("run", ["training.learning_rate changed 0.001 -> 0.0001"])


# Every other step: whatever damage to one of them would rerun beside it is among those that must not run.
@pytest.mark.parametrize("damaged", [STEPS[::2], STEPS[1::2]], ids=" ".join)
def test_damage_reruns_just_the_damaged_steps(finished: tuple[Home, Any], copied: Home, damaged: list[str]) -> None:
    expected = []
    for step in damaged:
        (folder,) = copied.artifacts()[step]
        file = max(file for file in folder.rglob("*") if file.is_file() and file.name != "manifest.json")
        file.write_bytes(file.read_bytes()[:-1] + b"?")  # same size: only the checksum can tell
        expected.append(
            f"the artifact {step}/{folder.name} is damaged and will be made again: {file.relative_to(folder)} does not"
        )
    done = copied.call(*copied.arguments("--json"))
    result = json.loads(done.stdout.splitlines()[-1])
    assert ran(result) == damaged
    said = " ".join(done.stderr.split())
    assert [said.count(sentence) for sentence in expected] == [1] * len(damaged)
    assert digests(result) == digests(finished[1])


@pytest.mark.parametrize("step", STEPS)
def test_deleting_a_file_or_the_whole_artifact_is_explained(copied: Home, step: str) -> None:
    (folder,) = copied.artifacts()[step]
    file = max(file for file in folder.rglob("*") if file.is_file() and file.name != "manifest.json")
    file.unlink()
    would, reasons = copied.explain()[step]
    assert would == "run"
    assert f"{file.relative_to(folder).as_posix()} is missing" in reasons[0]
    shutil.rmtree(folder)
    assert copied.explain()[step] == ("run", ["never made before"])


@pytest.fixture
def own_code(copied: Home, tmp_path: Path) -> Home:
    """The finished run's store with a copy of the project's code beside it, to be edited."""
    project = tmp_path / "project"
    for folder in ("flows", "tasks", "lib", "recipes"):
        shutil.copytree(PROJECT / folder, project / folder)  # with its compiled modules, and their times
    return replace(copied, project=project)


def edit(home: Home, name: str, old: str, new: str) -> None:
    file = home.project / name
    text = file.read_text()
    assert text.count(old) >= 1, f"{name} has no {old!r}"
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        (
            "lib/data/duplicates.py",
            "def normalise(",
            "EDITED = 1\n\n\ndef normalise(",
            ["messages", "balance", "split", "holdout", "cross_validate", "evaluate"],
        ),
        (
            "lib/training/batches.py",
            "class EncodedMessages",
            "EDITED = 1\n\n\nclass EncodedMessages",
            ["finetune", "cross_validate"],  # which trains on folds where it is asked to
        ),
        (
            "lib/model/gpt2/gpt.py",
            "class GPT(",
            "EDITED = 1\n\n\nclass GPT(",
            ["backbone", "features", "finetune", "engine", "cross_validate", "evaluate"],
        ),
        ("lib/data/source/archive.py", "import zipfile", "import zipfile\n\nEDITED = 1", ["download"]),
        (
            "lib/evaluation/classify/figures.py",
            "def write_figures(",
            "EDITED = 1\n\n\ndef write_figures(",
            ["evaluate"],
        ),
        ("tasks/steps/classify/balance.py", "@step(", "EDITED = 1\n\n\n@step(", ["balance"]),
    ],
)
def test_an_edit_anywhere_in_lib_reruns_the_steps_that_reach_it(
    own_code: Home, name: str, old: str, new: str, expected: list[str]
) -> None:
    edit(own_code, name, old, new)
    verdicts = {step: (would, tuple(why)) for step, (would, why) in own_code.explain().items()}
    module = name.removesuffix(".py").replace("/", ".")
    running = [step for step in STEPS if verdicts[step][0] == "run"]
    assert running == expected
    assert {verdicts[step] for step in running} == {("run", (f"code changed in {module}",))}


def test_a_comment_a_docstring_or_the_layout_reruns_nothing(own_code: Home) -> None:
    edit(own_code, "lib/data/duplicates.py", "def normalise(", "# A comment.\ndef normalise(")
    edit(own_code, "lib/data/messages/split.py", '"""', '"""Other words. ')
    edit(own_code, "lib/data/messages/balance.py", "\n\n\n", "\n\n\n\n\n")
    assert {would for would, _ in own_code.explain().values()} == {"be reused"}


def test_the_same_bytes_after_an_edit_reuse_what_follows(own_code: Home) -> None:
    edit(own_code, "lib/data/source/archive.py", "import zipfile", "import zipfile\n\nEDITED = 1")
    assert ran(own_code.run()) == ["download"]


def test_kill_9_blocks_neither_the_run_that_waits_nor_the_next(copied: Home) -> None:
    long = ["--training.epochs=6", "--training.checkpoint_every=5"]
    victim = copied.start(*long)
    try:
        scratch = copied.folder / "store" / ".scratch" / "finetune"
        wait_until(lambda: any(scratch.rglob("checkpoint.json")), seconds=120, what="a checkpoint")
        os.kill(victim.pid, signal.SIGSTOP)  # it must not finish before the other one waits for it
        waiting = copied.start(*long)
        said = waiting.stderr
        assert said is not None
        wait_until(lambda: "waiting for it" in said.readline(), seconds=60, what="the second run's wait")
    finally:
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
    out, err = waiting.communicate(timeout=240)
    assert waiting.returncode == 0, out + err
    assert ran(json.loads(out.splitlines()[-1])) == FROM_FINETUNE_ON
    assert "went on from a checkpoint" in err
    assert ran(copied.run(*long)) == []
