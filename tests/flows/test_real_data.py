"""The real SMS Spam Collection through whole flows: the counts that are known, and how good the tiny model gets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lib.data.parts import Parts
from lib.data.tables import MESSAGES
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.sizes import SIZES
from lib.model.gpt2.weights import save_gpt
from tests.support.e2e import Home
from tests.support.hub_server import HubServer

pytestmark = [pytest.mark.e2e, pytest.mark.data]


def run(home: Home, real_data: Path, recipe: str, *more: str) -> tuple[dict[str, Path], dict[str, float]]:
    """Runs a bundled recipe on the local copy of its data; the artifacts' folders by step, and the metrics."""
    home = replace(home, data=real_data)
    url = f"--data.url={(real_data / 'sms+spam+collection.zip').as_uri()}"
    done = home.call("--recipe", recipe, url, "--json", *more)
    assert done.returncode == 0, done.stdout + done.stderr
    result: Any = json.loads(done.stdout.splitlines()[-1])
    folders = {step["step"]: Path(step["artifact"]["folder"]) for step in result["steps"] if step["artifact"]}
    return folders, result["metrics"]


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def test_sms_tiny_reaches_95_percent_on_the_test_split(home: Home, real_data: Path) -> None:
    # As exact as the engine that would be chosen, which takes a minute to find out.
    folders, metrics = run(home, real_data, "sms-tiny", "--serving.engine=torch", "--serving.precision=float32")
    profile = read(folders["messages"] / "profile.json")
    assert (profile["rows"], profile["labels"], profile["duplicate_texts"]) == (5574, {"ham": 4827, "spam": 747}, 403)
    split = read(folders["split"] / "split.json")
    assert split["rows"] == {"train": 3901, "validation": 557, "test": 1116}
    assert split["straddling"]["made"]["near_duplicates"] == {"validation": 0, "test": 0}
    assert metrics["test/accuracy"] >= 0.95
    assert metrics["test/accuracy_low"] >= 0.93
    assert metrics["test/f1"] >= 0.85  # always saying "ham" would have 0 here, and 87 % accuracy


def test_book_has_the_published_counts_on_a_tiny_backbone_from_a_hub(
    home: Home, real_data: Path, tmp_path: Path
) -> None:
    save_gpt(new_gpt(SIZES["tiny"], seed=1), tmp_path)
    with HubServer() as hub:
        hub.add("somebody/tiny", {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()})
        home = replace(
            home, environment={**home.environment, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "cache")}
        )
        weights = ["--model.size=from-weights", "--model.weights=somebody/tiny", "--training.epochs=1"]
        folders, metrics = run(home, real_data, "book", *weights, "--log-format=book")
    assert read(folders["backbone"] / "config.json")["n_embd"] == 64
    (logged,) = (home.folder / "mlartifacts").rglob("sanity.txt")
    assert logged.read_text() == (folders["backbone"] / "sanity.txt").read_text()
    assert "Every effort moves you" in logged.read_text()
    assert "Answer with 'yes' or 'no'" in logged.read_text()
    profile = read(folders["messages"] / "profile.json")
    assert (profile["rows"], profile["labels"]) == (5572, {"ham": 4825, "spam": 747})
    split = read(folders["split"] / "split.json")
    assert split["rows"] == {"train": 1045, "validation": 149, "test": 300}
    assert split["straddling"]["made"] == split["straddling"]["plain"]
    assert split["straddling"]["made"]["copies"]["test"] == 37
    assert split["straddling"]["made"]["near_duplicates"]["test"] == 51
    tokens = read(folders["tokenize"] / "tokens.json")
    assert tokens["max_length"] == tokens["longest_training_message"] == 120
    assert len(Parts(folders["balance"] / "reserve", MESSAGES)) == 5572 - 2 * 747
    history = pd.read_parquet(folders["finetune"] / "history.parquet")
    # 1,045 messages are 130 whole batches of 8; evaluations after batches 0, 50, 100 and the epoch.
    assert list(history["step"]) == [0, 50, 100, 129]
    assert list(history["examples_seen"]) == [8, 408, 808, 1040]
    assert {f"natural_prevalence/{name}" for name in ("accuracy", "precision")} | {
        f"published/before/{name}" for name in ("train/accuracy", "test/loss")
    } <= set(metrics)
    for split in ("validation", "test"):  # all of whose messages both look at
        assert metrics[f"published/after/{split}/accuracy"] == metrics[f"{split}/accuracy"]
