"""Files as people have them, as far as labels and what spoils a classifier are concerned: from the source to splits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lib.errors import FinetuneError, LabelError, MessagesError
from lib.store.artifacts import Artifact
from lib.store.folder import FolderStore
from lib.store.warnings import warnings_of
from tasks.steps.classify.balance import balance
from tasks.steps.classify.messages import messages
from tasks.steps.classify.split import split
from tasks.steps.download import download
from tests.support.procedure import perform
from tests.support.recipes import load_recipe

CASES = Path(__file__).resolve().parents[5] / "shared" / "cases"


@dataclass(frozen=True)
class Made:
    """What the steps made of a file."""

    artifacts: dict[str, Artifact]

    @property
    def profile(self) -> dict[str, Any]:
        return dict(json.loads(self.artifacts["messages"].file("profile.json").read_text()))

    @property
    def warnings(self) -> list[str]:
        return warnings_of(self.artifacts.values())

    def table(self, step: str, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.artifacts[step].file(name))


Make = Callable[..., Made]


@pytest.fixture
def make(store: FolderStore) -> Make:
    """Runs the steps up to the split on a file, by the recipe `quickstart` with changes."""

    def make(file: Path | str, **changes: str) -> Made:
        path = CASES / file
        if not path.exists():
            pytest.skip(f"the file is not here: {path}")
        fields = {"data.source": "file", "data.url": str(path)}
        recipe = load_recipe(
            "quickstart", {**fields, "data.text_column": "text", "data.label_column": "label"} | changes
        )
        made: dict[str, Artifact] = {}
        for step in (download, messages, balance, split):
            made[step.name] = perform(store, recipe, step, **{name: made[name] for name in step.inputs})
        return Made(made)

    return make


def written(folder: Path, rows: str) -> Path:
    file = folder / "t.csv"
    file.write_text(rows)
    return file


def alike(count: int, label: str, word: str) -> str:
    """Rows of which no two are near-duplicates."""
    return "".join(f"{word} {chr(97 + number // 26)}{chr(97 + number % 26)},{label}\n" for number in range(count))


@pytest.mark.parametrize(
    ("file", "changes", "labels", "beginnings"),
    [
        ("20-jsonl-mixed-types/mixed.jsonl", {}, {"0": 75, "1": 75}, ["mixed.jsonl: column 'label' holds 75 "]),
        (
            "20-jsonl-mixed-types/bools.jsonl",
            {"data.labels": "{true: [True], false: [False]}"},
            {"false": 75, "true": 75},
            ["bools.jsonl: column 'label' holds 75 "],
        ),
        (
            "21-jsonl-nested-multilabel/joined.csv",
            {"data.label_column": "labels"},
            {
                **{"billing": 62, "technical": 52, "delivery": 46, "delivery|urgent": 34},
                **{"technical|urgent": 28, "billing|urgent": 18},
            },
            ["3 of 6 labels join others with '|': "],
        ),
        (
            "21-jsonl-nested-multilabel/onehot.csv",
            {"data.label_column": "billing"},
            {"0": 160, "1": 80},
            ["onehot.csv: 'technical', 'delivery' hold 0 and 1, as 'billing' does: if each stands for a"],
        ),
        (
            "27-dirty-labels/labels.csv",
            {"data.labels": "{ham: [HAM, Ham], spam: [SPAM, Spam]}"},
            {"ham": 130, "spam": 130},
            ["73 labels were written with spaces or invisible characters around them, which are trimmed: "],
        ),
        ("30-yes-no-labels/yn.csv", {}, {"no": 80, "yes": 80}, []),
        ("30-yes-no-labels/null.csv", {}, {"null": 80, "other": 80}, []),
        ("31-hard-texts/hard.csv", {}, {"neg": 112, "pos": 112}, ["36 of 224 rows repeat the text of another but"]),
        (
            "33-duplicates-conflicts/dups.csv",
            {},
            {"negative": 166, "positive": 144},
            ["20 texts stand there with different labels (rows 0 and 157, 4 and 105, 5", "130 of 310 rows repeat the"],
        ),
        ("34-imbalance/rare.csv", {}, {"ham": 285, "spam": 15}, ["95.0% of the rows are 'ham', and 'spam' has 15 of"]),
        (
            "35-holes/unlabelled.csv",
            {"data.empty_label": "drop"},
            {"negative": 38, "positive": 32},
            ["70 of 140 rows are left out (empty label 70)"],
        ),
        (
            "25-parquet-classlabel/train-00000-of-00001.parquet",
            {"data.labels": "{neg: negative, pos: positive}"},
            {"neg": 80, "pos": 80},
            [],
        ),
    ],
)
def test_what_trains_has_its_counts_and_its_warnings(
    make: Make, file: str, changes: dict[str, str], labels: dict[str, int], beginnings: list[str]
) -> None:
    made = make(file, **changes)
    assert made.profile["labels"] == labels
    assert made.profile["warnings"] == made.warnings
    assert len(made.warnings) == len(beginnings)
    for sentence, beginning in zip(made.warnings, beginnings, strict=True):
        assert sentence.startswith(beginning)
    rows = sum(labels.values()) + len(made.table("messages", "left_out.parquet"))
    assert rows == made.profile["rows"] + sum(made.profile["left_out"].values())


@pytest.mark.parametrize(
    ("file", "changes", "error", "words"),
    [
        (
            "20-jsonl-mixed-types/bools.jsonl",
            {},
            LabelError,
            """merge them with --data.labels '{"False": ["False", "false"], "true": ["true", "True"]}'""",
        ),
        (
            "20-jsonl-mixed-types/holes.jsonl",
            {},
            MessagesError,
            "5 rows (0, 30, 60, …; counted from 0) have an empty text",
        ),
        (
            "20-jsonl-mixed-types/holes.jsonl",
            {"data.empty_text": "drop"},
            MessagesError,
            "4 rows (7, 47, 87, …; counted from 0) have an empty label: fill in, remove, or leave out with"
            " --data.empty_label drop",
        ),
        (
            "21-jsonl-nested-multilabel/multi.jsonl",
            {"data.label_column": "labels"},
            MessagesError,
            "line 1: column 'labels' holds a list: ",
        ),
        (
            "22-float-labels-next-month/january-hole.parquet",
            {},
            MessagesError,
            "row 17 (counted from 0) has an empty label",
        ),
        ("27-dirty-labels/labels.csv", {}, LabelError, "'spam' (93 rows), 'Spam' (22), 'SPAM' (15): 3 spellings"),
        ("35-holes/empty.csv", {}, MessagesError, "empty.csv is empty: is it the right file?"),
        ("35-holes/header-only.csv", {}, MessagesError, "header-only.csv has no messages, only a header row"),
        (
            "35-holes/holes.csv",
            {},
            MessagesError,
            "21 rows (3, 9, 14, …; counted from 0) have an empty text: fill in, remove, or leave out with"
            " --data.empty_text drop; 6 rows (11, 36, 61, …; counted from 0) have an empty label",
        ),
        (
            "35-holes/no-labels.csv",
            {},
            MessagesError,
            "or is --data.label_column another column, as every label is empty?",
        ),
        ("35-holes/one-class.csv", {}, LabelError, "one-class.csv: every message has the label 'spam': "),
        ("35-holes/unlabelled.csv", {}, MessagesError, "70 rows (1, 3, 5, …; counted from 0) have an empty label"),
    ],
)
def test_what_does_not_train_is_told_in_one_sentence(
    make: Make, file: str, changes: dict[str, str], error: type[FinetuneError], words: str
) -> None:
    with pytest.raises(error) as refused:
        make(file, **changes)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_january_and_february_have_the_same_labels(make: Make) -> None:
    """A hole made pandas write 1.0 and 0.0 in one of the two."""
    for file in ("january.parquet", "february.csv"):
        assert make(f"22-float-labels-next-month/{file}").profile["labels"] == {"0": 90, "1": 90}


def test_the_order_of_data_labels_is_that_of_the_targets(make: Make, tmp_path: Path) -> None:
    file = written(tmp_path, "text,label\n" + alike(20, "ham", "lunch") + alike(20, "spam", "prize"))
    made = make(file, **{"data.labels": "[spam, ham]"})
    train = made.table("split", "train")
    assert set(zip(train["label"], train["target"], strict=True)) == {("spam", 0), ("ham", 1)}


def test_rare_labels_are_said_before_the_split_and_left_out_on_request(make: Make, tmp_path: Path) -> None:
    rows = "text,label\n" + alike(20, "ham", "lunch") + alike(20, "spam", "prize") + alike(2, "eggs", "breakfast")
    file = written(tmp_path, rows)
    with pytest.raises(
        LabelError, match=r"^t\.csv: label 'eggs' has fewer than 3 rows \(2\): give more rows, leave it"
    ):
        make(file)
    made = make(file, **{"data.rare_labels": "drop"})
    assert made.table("messages", "left_out.parquet")[["row", "line", "reason"]].values.tolist() == [
        [40, 42, "rare label"],
        [41, 43, "rare label"],
    ]
    merged = make(
        written(tmp_path, rows + alike(2, "bacon", "morning")),
        **{"data.rare_labels": "merge", "data.rare_label_name": "breakfast"},
    )
    assert merged.profile["labels"] == {"ham": 20, "spam": 20, "breakfast": 4}


def test_splits_in_a_column_and_their_near_duplicates(make: Make, tmp_path: Path) -> None:
    def with_fold(rows: str, fold: str) -> str:
        return "".join(f"{row},{fold}\n" for row in rows.splitlines())

    train = with_fold(alike(20, "ham", "lunch") + alike(20, "spam", "prize"), "train")
    test = with_fold("Lunch aa!,ham\n" + alike(3, "spam", "trophy"), "Test")
    file = written(tmp_path, f"text,label,fold\n{train}{test}")
    kept = make(file, **{"split.column": "fold"})
    assert kept.table("split", "test")["text"].tolist()[0] == "Lunch aa!"
    assert len(kept.table("split", "train")) + len(kept.table("split", "validation")) == 40
    assert any("stays: split.near_duplicates drop_from_train" in sentence for sentence in kept.warnings)
    dropped = make(file, **{"split.column": "fold", "split.near_duplicates": "drop_from_train"})
    assert len(dropped.table("split", "train")) + len(dropped.table("split", "validation")) == 39
    assert "1 message is left out of train: it has a near-duplicate in a given split" in dropped.warnings
    assert json.loads(dropped.artifacts["split"].file("split.json").read_text())["dropped_from_train"] == 1


def test_flags_beside_a_label_are_not_taken_for_labels(make: Make, tmp_path: Path) -> None:
    texts = [row.partition(",")[0] for row in alike(40, "", "lunch").splitlines()]
    rows = [f"{text},{number % 2},{number % 4 // 2},{number % 8 // 4}" for number, text in enumerate(texts)]
    assert make(written(tmp_path, "text,label,reply,link\n" + "\n".join(rows) + "\n")).warnings == []
