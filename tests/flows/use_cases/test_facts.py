"""What the table at the end of a run says: of artifacts that lib's own functions made, and of a real run."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from flows.classify import PROGRAM
from flows.run.result import Result
from flows.terminal.display import show_result
from flows.use_cases.facts import instruct_facts
from lib.data.entries.reading import profile_entries, read_entries
from lib.data.entries.split import split_entries
from lib.data.samples.entries import FILE
from lib.data.tables import ANSWERS, save_table
from lib.evaluation.judge.summary import assess
from lib.files.jsonfile import save_json
from lib.recipes.instruct import InstructRecipe
from lib.recipes.reading import load_recipe
from lib.store.artifacts import Artifact, key_of
from lib.store.folder import FolderStore
from lib.text.entry_tokens import tokenize_entries
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.prompts import named_style
from lib.training.history import history_table, read_history, write_history
from tests.support.e2e import PROJECT, Home

METRICS = {
    "test/loss": 1.5,
    "test/perplexity": 4.4817,
    "test/exact_match": 0.1,
    "test/chrf": 27.25,
    "test/stopped": 0.95,
}
JUDGED = {"judge/mean": 49.456, "judge/mean_low": 40.1, "judge/mean_high": 58.92, "judge/unparsed": 0.0}
ANSWER = "The wind\ntore [it]."  # no mark-up of the terminal's


def kept(store: FolderStore, step: str) -> Any:
    """The folder of a new artifact, to be filled in a with block."""
    return store.write(step, key_of({"step": step}), {"step": step})


@pytest.fixture
def artifacts(store: FolderStore) -> dict[str, Artifact]:
    """Those of a run on the bundled entries, as far as the table reads them."""
    read = read_entries(FILE)
    splits = split_entries(read.table, train=0.85, test=0.1, shuffle=False, seed=123, group_duplicates=True)
    tokens = tokenize_entries(
        splits.tables(), style=named_style("phi3"), tokenizer=gpt2_tokenizer(), max_length=60, context_length=256
    )
    rows = [{"step": 0, "train_loss": 10.8251, "validation_loss": 10.8}, {"step": 43, "train_loss": 2.0, "epoch": 1.0}]
    filled = ("epoch", "examples_seen", "tokens_seen", "seconds", "learning_rate")
    history = history_table([{**dict.fromkeys(filled, 0), "validation_loss": 2.25, **row} for row in rows])
    with kept(store, "entries") as folder:
        save_json(profile_entries(read), folder / "profile.json")
    with kept(store, "split_entries") as folder:
        save_json(splits.report, folder / "split.json")
    with kept(store, "tokenize_entries") as folder:
        save_json(tokens.report, folder / "tokens.json")
    with kept(store, "finetune_instructions") as folder:
        write_history(history, folder / "history.parquet")
        save_json({"kept_row": 1}, folder / "training.json")
    with kept(store, "respond") as folder:
        answers = splits.test.assign(response=ANSWER, tokens=9, stopped=True)
        save_table(answers, folder / "answers.parquet", ANSWERS)
    with kept(store, "judge") as folder:
        save_json({"anchors": assess([{"reference": 90, "empty": 0, "other": 10}])}, folder / "summary.json")
    steps = ("entries", "split_entries", "tokenize_entries", "finetune_instructions", "respond", "judge")
    found = {step: store.find(step, key_of({"step": step})) for step in steps}
    return {step: artifact for step, artifact in found.items() if artifact is not None}


RECIPE = load_recipe("quickstart", folder="instruct", model=InstructRecipe)


def test_a_run_on_instructions(artifacts: dict[str, Artifact]) -> None:
    assert list(instruct_facts(artifacts, METRICS | JUDGED, RECIPE)) == [
        ("entries", "200 (Alpaca instructions, 127 with an input)"),
        ("split", "170 train, 10 validation, 20 test"),
        ("longest entry", "69 tokens; 3 cut to 60"),
        ("train loss", "10.825 -> 2.000"),
        ("validation loss", "10.800 -> 2.250"),
        ("test loss", "1.500 (perplexity 4.5)"),
        ("exact match", "10.0% of the answers"),
        ("chrF", "27.2 of 100"),
        ("stopped by themselves", "95.0% of the answers"),
        ("judge", "49.46 of 100 by llama3 (95% interval 40.10 to 58.92)"),
        ("judge's test", "sound: the reference came first in 1 of 1 entries, by 80.0 points on average"),
        (
            "first answer",
            "Rewrite the sentence in the active voice. The kite was torn by the wind. -> The wind tore [it].",
        ),
    ]


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        ({}, None),
        ({"judge/unparsed": 2.0}, "llama3 gave no score; 2 without a score"),
        ({"judge/mean": 40.0, "judge/unparsed": 1.0}, "40.00 of 100 by llama3; 1 without a score"),
    ],
    ids=["not judged", "no score", "one score"],
)
def test_what_a_judge_said(artifacts: dict[str, Artifact], metrics: dict[str, float], shown: str | None) -> None:
    assert dict(instruct_facts(artifacts, METRICS | metrics, RECIPE)).get("judge") == shown


def test_a_curve_ends_with_what_the_kept_weights_have(artifacts: dict[str, Artifact], store: FolderStore) -> None:
    """Not with the last row, whose weights are gone; and with the final figure, where the same was measured again."""
    with store.write("finetune_instructions", "k" * 32, {}) as folder:
        write_history(
            read_history(artifacts["finetune_instructions"].file("history.parquet")), folder / "history.parquet"
        )
        save_json({"kept_row": 0}, folder / "training.json")
    kept = store.find("finetune_instructions", "k" * 32)
    assert kept is not None
    facts = dict(instruct_facts({**artifacts, "finetune_instructions": kept}, METRICS, RECIPE))
    assert facts["train loss"] == "10.825 -> 10.825"
    measured = METRICS | {"train/loss": 3.25}
    assert dict(instruct_facts({**artifacts, "finetune_instructions": kept}, measured, RECIPE))["train loss"] == (
        "10.825 -> 3.250"
    )


def test_a_loss_without_a_perplexity(artifacts: dict[str, Artifact]) -> None:
    metrics = {name: value for name, value in METRICS.items() if name != "test/perplexity"}
    assert dict(instruct_facts(artifacts, metrics, RECIPE))["test loss"] == "1.500"


@pytest.mark.e2e
def test_the_table_of_a_run_that_trained_a_classifier(
    finished: tuple[Home, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, printed = finished
    monkeypatch.setenv("FINETUNE_HOME", str(home.folder))
    console = Console(width=200, file=io.StringIO(), record=True)
    recipe = PROGRAM.recipe(str(PROJECT / "tests" / "support" / "quick.yaml"), {"data.url": str(home.data)})
    printed = {**printed, "metrics": {**printed["metrics"], "baseline/test/accuracy": 0.99}}
    show_result(console, Result.model_validate(printed), recipe, PROGRAM)
    lines = console.export_text().splitlines()
    rows = dict(line.strip("│ ").split(" │ ", 1) for line in lines if line.count("│") == 3)
    values = {name.strip(): value.strip() for name, value in rows.items()}
    assert list(values) == [
        "messages",
        "split",
        "longest message kept",
        "train loss",
        "validation loss",
        "train accuracy",
        "validation accuracy",
        "served with",
        "test accuracy",
        "TF-IDF baseline",
    ]
    assert values["served with"] == "torch float32"
    assert values["messages"] == "400 (300 ham, 100 spam)"
    points = 100 * (printed["metrics"]["test/accuracy"] - 0.99)
    assert values["TF-IDF baseline"] == f"99.00%; this classifier is {points:+.2f} points away"
    assert values["test accuracy"].startswith(f"{printed['metrics']['test/accuracy']:.2%} (95% interval ")
    assert [line.partition(" (")[0] for line in lines if line.startswith("registered: ")] == [
        f"registered: e2e version {printed['registered']['version']}"
    ]
