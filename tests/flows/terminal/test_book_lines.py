"""The published procedure's lines and its figures beside ours, as the command line prints them."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from rich.table import Table

from flows.classify import PROGRAM
from flows.run.result import LISTENER
from flows.terminal import runs
from flows.terminal.command_line import main
from flows.terminal.published import BookLog, comparison, replay
from flows.use_cases.classify import CLASSIFY
from flows.use_cases.instruct import INSTRUCT
from flows.use_cases.use_case import UseCase
from lib.evaluation.flat import flatten_published
from lib.recipes import reading
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.instruct import InstructRecipe
from lib.store.artifacts import Artifact, key_of
from lib.store.folder import FolderStore
from lib.training.history import history_table, write_history
from tasks.environment import store_folder
from tests.support.recipes import load_recipe
from tests.support.said import after_the_first_line

FIGURES = {
    "before": {"train_accuracy": 0.4625, "validation_accuracy": 0.45, "train_loss": 2.453, "test_loss": 2.322},
    "after": {"train_accuracy": 1011 / 1040, "validation_accuracy": 145 / 149, "test_accuracy": 287 / 300},
}
# Two epochs of 51 batches, evaluated every 50: the first epoch's end is an evaluation of its own and the end.
STEPS = [(0, 1 / 51), (50, 1.0), (50, 1.0), (100, 101 / 51), (101, 2.0)]
LINES = [
    "Training accuracy: 46.25%",
    "Validation accuracy: 45.00%",
    "Training loss: 2.453",
    "Test loss: 2.322",
    "Ep 1 (Step 000000): Train loss 2.153, Val loss 2.392",
    "Ep 1 (Step 000050): Train loss 2.153, Val loss 2.392",
    "Training accuracy: 70.00% | Validation accuracy: 72.50%",
    "Ep 2 (Step 000100): Train loss 2.153, Val loss 2.392",
    "Training accuracy: 70.00% | Validation accuracy: 72.50%",
    "Training completed in 5.65 minutes.",
    "Training accuracy: 97.21%",
    "Validation accuracy: 97.32%",
    "Test accuracy: 95.67%",
]
BOOK = load_recipe("book")

# Chapter 7: two epochs of 6 batches, evaluated every 5. The losses are those that its notebook prints first.
BEFORE = {"train_loss": 3.8259, "validation_loss": 3.7619}
INSTRUCT_STEPS = [(0, 1 / 6, 2.637, 2.626), (5, 1.0, 1.174, 1.103), (10, 11 / 6, 0.872, 0.944)]
SAMPLES = [
    {"epoch": 1, "prompt": "Convert it", "answer": "The meal\nis prepared."},
    {"epoch": 2, "prompt": "Convert it", "answer": "The meal\n\nwas cooked."},
]
INSTRUCT_LINES = [
    "Training loss: 3.826",
    "Validation loss: 3.762",
    "Ep 1 (Step 000000): Train loss 2.637, Val loss 2.626",
    "Ep 1 (Step 000005): Train loss 1.174, Val loss 1.103",
    "The meal is prepared.",
    "Ep 2 (Step 000010): Train loss 0.872, Val loss 0.944",
    "The meal  was cooked.",
    "Training completed in 5.65 minutes.",
]


def rows() -> list[dict[str, float]]:
    values = {"train_loss": 2.153, "validation_loss": 2.392, "train_accuracy": 0.7, "validation_accuracy": 0.725}
    return [
        {
            "step": step,
            "epoch": epoch,
            "examples_seen": 8 * step + 8,
            "tokens_seen": step,
            "learning_rate": 5e-5,
            "seconds": 339.0,
            **values,
        }
        for step, epoch in STEPS
    ]


def instruct_rows() -> list[dict[str, float]]:
    seen = {"examples_seen": 8, "tokens_seen": 99, "learning_rate": 5e-5, "seconds": 339.0}
    return [
        {"step": step, "epoch": epoch, **seen, "train_loss": train, "validation_loss": validation}
        for step, epoch, train, validation in INSTRUCT_STEPS
    ]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")


def made(step: str, facts: dict[str, Any], history: list[dict[str, float]]) -> Artifact:
    """An artifact of a training in the store, with these facts and this history."""
    store = FolderStore(store_folder())
    ingredients = {"step": step}
    with store.write(step, key_of(ingredients), ingredients) as folder:
        (folder / "training.json").write_text(json.dumps(facts))
        write_history(history_table(history, ["accuracy"]), folder / "history.parquet")
    artifact = store.find(step, key_of(ingredients))
    assert artifact is not None
    return artifact


def trained() -> Artifact:
    """A classifier's training."""
    return made("finetune", {"published": FIGURES}, rows())


def weights(**identity: str) -> Artifact:
    """A backbone in the store that says of its weights what it has of them."""
    store = FolderStore(store_folder())
    ingredients = {"step": "backbone", "identity": identity}
    with store.write("backbone", key_of(ingredients), ingredients) as folder:
        (folder / "sanity.txt").write_text("Hello")
    artifact = store.find("backbone", key_of(ingredients))
    assert artifact is not None
    return artifact


def test_a_training_that_was_done_earlier_prints_the_same_lines() -> None:
    live: list[str] = []
    log = BookLog(live.append, 50)
    log.on_figures("before", FIGURES["before"])
    for row in rows():
        log.on_row(row)
    log.on_figures("after", FIGURES["after"])
    log.end()
    again: list[str] = []
    replay(trained(), BookLog(again.append, 50).listener)
    assert live == again == LINES


def test_a_training_on_instructions_has_an_answer_after_each_epoch() -> None:
    live: list[str] = []
    log = BookLog(live.append, 5)
    log.on_figures("before", BEFORE)
    for row in instruct_rows()[:2]:
        log.on_row(row)
    log.on_sample(1, "The meal\nis prepared.")
    log.on_row(instruct_rows()[2])
    log.on_sample(2, "The meal\n\nwas cooked.")
    log.end()
    again: list[str] = []
    log = BookLog(again.append, 5)
    facts = {"published": {"before": BEFORE}, "samples": SAMPLES}
    replay(made("finetune_instructions", facts, instruct_rows()), log.listener)
    log.end()
    assert live == again == INSTRUCT_LINES


def test_losses_at_an_epochs_end_are_printed_unless_that_batch_has_its_line() -> None:
    lines: list[str] = []
    log = BookLog(lines.append, 5)
    for step, epoch in ((0, 1 / 6), (4, 5 / 6), (5, 1.0), (5, 1.0), (11, 2.0)):
        log.on_row({**instruct_rows()[0], "step": step, "epoch": epoch})
    assert [line.partition(":")[0] for line in lines] == [
        *("Ep 1 (Step 000000)", "Ep 1 (Step 000004)", "Ep 1 (Step 000005)", "Ep 2 (Step 000011)")
    ]


def test_without_figures_the_training_is_said_to_be_complete_at_the_end() -> None:
    lines: list[str] = []
    log = BookLog(lines.append, 50)
    log.on_row(rows()[0])
    log.end()
    assert lines == [LINES[4], LINES[9]]


@pytest.mark.parametrize("state", ["ran", "cached"])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_the_lines_leave_json_alone(
    state: str, flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "prefect_server", nullcontext)
    monkeypatch.setattr(runs, "show_result", lambda *anything: None)  # whose table is another test's
    training = trained()

    def flow(use_case: UseCase, recipe: ClassifyRecipe) -> dict[str, Any]:
        if state == "ran":
            log = LISTENER.get()
            log.on_figures("before", FIGURES["before"])
            for row in rows():
                log.on_row(row)
            log.on_figures("after", FIGURES["after"])
        step = {"step": "finetune", "state": state, "seconds": 1.0, "artifact": training.model_dump(mode="json")}
        return {
            "recipe": recipe.name,
            "flow_run": "1",
            "mlflow_run": "2",
            "steps": [step],
            "metrics": {},
            "registered": {"name": "a", "version": "1", "aliases": [], "new": False},
            "seconds": 1.0,
        }

    assert main(["--recipe", "book", "--log-format", "book", *flags], replace(PROGRAM, run=flow)) == 0
    said = capsys.readouterr()
    lines, other = (said.err, said.out) if flags else (said.out, said.err)
    lines, other = (after_the_first_line(lines), other) if flags else (lines, after_the_first_line(other))
    assert lines.splitlines() == LINES
    assert (json.loads(other)["recipe"] == "book") if flags else (other == "")


def table_of(shown: Table | str) -> pd.DataFrame:
    assert isinstance(shown, Table)
    return pd.DataFrame({column.header: list(column.cells) for column in shown.columns})


@pytest.mark.parametrize(
    "identity",
    [
        {
            "config.json": "0" * 64,
            "model.safetensors": "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
        },
        {"repository": "openai-community/gpt2", "commit": "607a30d783dfa663caf39e06633721c8d4cfcd7e"},
        {"model.ckpt.data-00000-of-00001": "2060c885360cc0cf41d7a6dbc4d24b5127aae20260c8b5ae521b5a6578407118"},
    ],
    ids=["file", "hub", "openai"],
)
def test_a_run_with_the_published_weights_has_its_figures_beside_the_published(identity: dict[str, str]) -> None:
    table = table_of(comparison(BOOK, BOOK, weights(**identity), flatten_published(FIGURES)))
    assert table["published"].tolist() == [
        *("46.25%", "45.00%", "48.75%", "2.453", "2.583", "2.322", "97.21%", "97.32%", "95.67%")
    ]
    assert table["this run"].tolist() == [
        *("46.25%", "45.00%", "not measured", "2.453", "not measured", "2.322", "97.21%", "97.32%", "95.67%")
    ]
    assert table["published procedure"].tolist()[:4] == [
        "train accuracy before",
        "validation accuracy before",
        "test accuracy before",
        "train loss before",
    ]


def test_a_variant_says_what_it_does_otherwise() -> None:
    backbone = weights(commit="607a30d783dfa663caf39e06633721c8d4cfcd7e")
    for overrides, title in (
        ({}, None),
        ({"training.device": "cpu", "model.weights": "/somewhere", "registry.name": "mine"}, None),
        (
            {"classifier.pooling": "first_token", "training.epochs": "3"},
            "this run differs from the published procedure in classifier.pooling, training.epochs",
        ),
    ):
        shown = comparison(load_recipe("book", overrides), BOOK, backbone, {})
        assert isinstance(shown, Table)
        assert shown.title == title


def test_instructions_have_published_figures_of_their_own() -> None:
    """Losses of two splits, and what the judge said."""

    def recipe(overrides: dict[str, str]) -> InstructRecipe:
        return reading.load_recipe("book", overrides, folder="instruct", model=InstructRecipe)

    published = {
        "published.weights": "[abc]",
        "published.before_loss": "[3.826, 3.762]",
        "published.judge_mean": "50.32",
    }
    metrics = {"published/before/train/loss": 3.82589, "published/before/validation/loss": 3.7619, "judge/mean": 49.5}
    free = {"judge.parallel": "9", "respond.batch_size": "1", "training.gradient_checkpointing": "true"}
    shown = comparison(recipe(published | free), recipe({}), weights(commit="abc"), metrics)
    assert table_of(shown).to_numpy().tolist() == [
        ["train loss before", "3.826", "3.826"],
        ["validation loss before", "3.762", "3.762"],
        ["judge mean", "50.32", "49.50"],
    ]
    assert isinstance(shown, Table)
    assert shown.title is None
    changed = comparison(recipe(published | {"prompt.style": "phi3"}), recipe({}), weights(commit="abc"), {})
    assert isinstance(changed, Table)
    assert changed.title == "this run differs from the published procedure in prompt.style"
    assert table_of(changed)["this run"].tolist() == ["not measured"] * 3


def test_a_run_with_other_weights_says_so_in_one_line() -> None:
    sentence = comparison(BOOK, BOOK, weights(seed="123"), {})
    console = Console(width=60, record=True, quiet=False)
    console.print(sentence, soft_wrap=True)
    assert console.export_text().count("\n") == 1
    assert "other weights" in str(sentence)


def test_no_step_reads_what_was_published() -> None:
    for step in (*CLASSIFY.all_steps, *INSTRUCT.all_steps):
        assert not any(field.startswith("published") for field in step.reads + step.unkeyed), step.name


def test_an_unknown_format_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--log-format", "novel"], PROGRAM) == 2
    assert "choose from" in capsys.readouterr().err
