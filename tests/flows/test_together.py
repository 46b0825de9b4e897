"""Processes that `torchrun` or `accelerate launch` started run one flow, and train in it together."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lib.errors import RecipeError
from lib.training.distributed.launched import Launched, require_processes
from lib.training.history import read_history
from tests.support.e2e import Home, ran

TOGETHER = ("--training.batch_size=8", "--training.processes=2")  # one process has batches of 16


@pytest.mark.e2e
def test_torchrun_runs_one_flow_whose_training_is_that_of_one_process(copied: Home, finished: tuple[Home, Any]) -> None:
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "flows.classify"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *copied.arguments("--json", *TOGETHER)],
        cwd=copied.project,
        env=copied.env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("everything lies in") == 1
    result = json.loads(done.stdout.splitlines()[-1])
    assert {"finetune", "evaluate"} <= set(ran(result)) <= {"finetune", "engine", "evaluate"}
    np.testing.assert_allclose(curve(copied, result), curve(*finished), rtol=0, atol=1e-5)
    # Whoever starts the processes, the training has the same key.
    assert copied.explain(*TOGETHER)["finetune"][0] == "be reused"


def curve(home: Home, result: Any) -> pd.DataFrame:
    (key,) = [step["artifact"]["key"] for step in result["steps"] if step["step"] == "finetune"]
    return read_history(home.folder / "store" / "finetune" / key / "history.parquet").drop(columns="seconds")


def test_as_many_processes_are_started_as_the_recipe_says() -> None:
    start = Launched(rank=0, size=2, local_rank=0, local_size=2, host="localhost", port=1, restart=0)
    require_processes(2, start)
    with pytest.raises(RecipeError, match=r"^training.processes is 1, and 2 processes were started: set"):
        require_processes(1, start)
