"""The digest of every artifact and registered file, made again: in another home, after a move, by two threads.

How many threads compute is no part of a key: what differs between one and two is stated beside the table.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.outcomes import FULL, Outcomes
from tests.faults.subjects import Subject, instructions
from tests.support.e2e import STEPS, Home, ran
from tests.support.whole import Whole, whole

pytestmark = [pytest.mark.faults, pytest.mark.e2e]

full_scale = pytest.mark.skipif(not FULL, reason="tried by `make faults` alone")


def note(outcomes: Outcomes, fault: str, expected: Whole, found: Whole) -> None:
    """Notes each artifact and each registered version."""
    differing = expected.differences(found)
    for _ in range(len(expected.digests) + len(expected.versions) - len(differing)):
        outcomes.note(fault, True)
    for name in differing:
        outcomes.note(fault, False, lost=f"other bytes: {name}")


def made_again(subject: Subject, folder: Path, environment: Mapping[str, str]) -> Whole:
    """What the command comes to in an empty home."""
    home = Home(folder, subject.start.data, {**subject.start.environment, **environment})
    done = home.call(*subject.arguments, module="flows")
    assert done.returncode == 0, done.stdout + done.stderr
    return whole(home.folder, json.loads(done.stdout.splitlines()[-1]))


def test_in_another_home(finished: tuple[Home, Any], home: Home, outcomes: Outcomes) -> None:
    result = home.run()
    expected = whole(finished[0].folder, finished[1])
    note(outcomes, "classify, in another home", expected, whole(home.folder, result))


@full_scale
def test_after_a_move(home: Home, tmp_path: Path, outcomes: Outcomes) -> None:
    expected = whole(home.folder, home.run())
    moved = replace(home, folder=home.folder.rename(tmp_path / "moved"))
    shutil.rmtree(moved.folder / "store")
    result = moved.run()
    assert ran(result) == STEPS
    note(outcomes, "classify, after a move", expected, whole(moved.folder, result))


def encoder(minilm: Path, small_data: Path, prefect_api: str, folder: Path) -> Subject:
    """A network that is wide enough for threads to share its work."""
    start = Home(folder / "start", small_data, {"PREFECT_API_URL": prefect_api})
    flags = [
        "classify",
        "--recipe",
        "encoder",
        "--data.source=file",
        f"--data.url={small_data}",
        "--data.text_column=body",
    ]
    more = ["--data.label_column=kind", f"--model.weights={minilm}", "--training.epochs=1", "--json"]
    return Subject("classify with a pretrained encoder", [*flags, *more], start)


@full_scale
@pytest.mark.parametrize("kind", ["classify", "encoder", "instruct"])
def test_by_one_thread_and_by_two(
    kind: str,
    request: pytest.FixtureRequest,
    small_data: Path,
    prefect_api: str,
    tmp_path: Path,
    outcomes: Outcomes,
) -> None:
    if kind == "classify":
        home = Home(tmp_path / "home", small_data, {"PREFECT_API_URL": prefect_api})
        subject = Subject("classify", ["classify", *home.arguments("--json")], home)
    elif kind == "encoder":
        subject = encoder(request.getfixturevalue("minilm"), small_data, prefect_api, tmp_path)
    else:
        subject = instructions(tmp_path, {"PREFECT_API_URL": prefect_api})
    by: dict[int, Whole] = {}
    for threads in (1, 2):
        set_to = {"OMP_NUM_THREADS": f"{threads}"}
        by[threads] = made_again(subject, tmp_path / f"{threads}-once", set_to)
        note(
            outcomes,
            f"{subject.name}, twice by {threads} thread{'s' if threads > 1 else ''}",
            by[threads],
            made_again(subject, tmp_path / f"{threads}-twice", set_to),
        )
    differing = by[1].differences(by[2])
    outcomes.state(
        f"{subject.name}, by two threads instead of one",
        f"other bytes: {', '.join(differing)}" if differing else "the same bytes",
    )
