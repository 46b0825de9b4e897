"""A GPT-2 of our own is tokenized and trained without transformers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.e2e import PROJECT

STEPS = """
import sys
from contextlib import nullcontext
from pathlib import Path
import tasks.steps.together as training
from lib.progress import NOBODY
from lib.store.folder import FolderStore
from tests.support.steps import finetuned, write_data

training.watched = lambda work, step: nullcontext(NOBODY)  # the pages of MLflow and Prefect
folder = Path(sys.argv[1])
finetuned(FolderStore(folder / "store"), write_data(folder, {}), "scratch", training={"epochs": 1})
print(sorted({"transformers", "tokenizers", "peft"} & sys.modules.keys()))
"""


def test_the_steps_import_no_transformers(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STEPS, str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
