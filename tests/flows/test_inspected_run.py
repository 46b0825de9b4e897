"""A run trains on what `finetune inspect` suggests: the recipe that it writes, and the command that it prints."""

from __future__ import annotations

import json
import shlex
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.support.e2e import Home

pytestmark = pytest.mark.e2e

SHORT = ["--training.epochs=1", "--training.evaluate_every=50", "--json"]


def finetune(home: Home, module: str, *arguments: str) -> Any:
    done = home.call(*arguments, module=module)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_file_with_all_flaws_trains_by_recipe_and_by_command(home: Home, tmp_path: Path) -> None:
    """Rows that cannot be read, empty ones, spellings of one label, and a label with a single row."""
    names = ["".join(letters) for letters in product("bdfg", "aeio", "lmn")]  # in digits only they would be alike
    good = [f"{name} of the {kind} things that were said,{kind}" for name in names for kind in "ab"]
    flaws = ["a,b,c", ",a", "words without a label,", *(f"other words of {name},A" for name in names[:3]), "once,c"]
    file, recipe = tmp_path / "my flaws.csv", tmp_path / "mine.yaml"
    file.write_text("\n".join(["body,kind", *good, *flaws, ""]))
    found = finetune(home, "flows.inspect", str(file), "--recipe", str(recipe), "--json")
    assert (found["rows"], found["unusable_rows"], found["empty_texts"], found["empty_labels"]) == (103, 1, 1, 1)
    result = finetune(home, "flows.classify", "--recipe", str(recipe), *SHORT)
    (messages,) = (step["artifact"]["folder"] for step in result["steps"] if step["step"] == "messages")
    profile = json.loads((Path(messages) / "profile.json").read_text())
    assert profile["labels"] == {"a": 51, "b": 48}
    _, use_case, *flags = shlex.split(found["command"])
    again = finetune(home, f"flows.{use_case}", *flags, *SHORT)
    assert {step["step"]: step["state"] for step in again["steps"]}["messages"] == "cached"
