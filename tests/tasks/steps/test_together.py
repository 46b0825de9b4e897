"""A step that trains is the same whoever trains: one process, or two that were started for it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib.errors import StoreError
from lib.progress import NOBODY
from lib.store.artifacts import Artifact
from lib.store.folder import FolderStore
from lib.training.history import read_history
from lib.training.team import ALONE
from tasks.steps.classify.finetune import finetune
from tasks.steps.together import do_part
from tests.support.procedure import perform
from tests.support.steps import recipe_for, steps_until_trained, write_data

TRAINING = {"epochs": 2, "evaluate_every": 4}


def test_two_processes_make_the_artifact_of_one_with_twice_the_batch(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_STORE", str(store.root))
    monkeypatch.setattr("tasks.steps.together.watched", lambda *_: nullcontext(NOBODY))
    data = write_data(tmp_path, {})
    _, made = steps_until_trained(store, data, "scratch", training={**TRAINING, "batch_size": 14})
    two = recipe_for(data, "scratch", training={**TRAINING, "batch_size": 7, "processes": 2})
    together = perform(store, two, finetune, **{name: made[name] for name in finetune.inputs})
    one = made["finetune"]
    assert together.key != one.key
    assert files(together) == files(one)
    np.testing.assert_allclose(curve(together), curve(one), rtol=0, atol=1e-5)


def test_a_process_with_other_code_than_the_run_takes_no_part() -> None:
    edited = {**finetune.code, "lib.training.loop": "edited"}
    arguments = {"step": "tasks.steps.classify.finetune:finetune", "code": edited}
    with pytest.raises(StoreError, match=r"^the code of lib\.training\.loop changed after this run began: run again$"):
        do_part(arguments, ALONE, NOBODY)


def curve(artifact: Artifact) -> pd.DataFrame:
    return read_history(artifact.file("history.parquet")).drop(columns="seconds")


def files(artifact: Artifact) -> list[str]:
    return sorted(path.name for path in artifact.folder.iterdir())
