"""A column of the source on its way to the evaluation, around all that is trained."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from lib.data.parts import Parts, load_parts, save_parts
from lib.data.tables import SLICES, load_table
from lib.errors import MessagesError, RecipeError
from lib.store.artifacts import Artifact
from lib.store.folder import FolderStore
from tasks.steps.classify.evaluate import slice_values
from tasks.steps.classify.messages import SLICES_FILE, messages
from tasks.steps.download import download
from tests.support.procedure import perform
from tests.support.recipes import build_recipe

ROWS = [("ham", f"lunch {chr(97 + row)}", "sms" if row % 2 else "mail") for row in range(12)]
ROWS += [("spam", f"prize {chr(97 + row)}", "" if row == 3 else "sms") for row in range(12)]


@pytest.fixture
def file(tmp_path: Path) -> str:
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("label", "text", "channel"), ("ham", "", "mail"), *ROWS])
    return str(tmp_path / "a.csv")


def parsed(store: FolderStore, file: str, slices: str | None, **data: Any) -> Artifact:
    recipe = build_recipe(
        {"data": {"url": file, "empty_text": "drop", **data}, "evaluation": {"slices": slices}, "split": {"seed": 1}}
    )
    return perform(store, recipe, messages, download=perform(store, recipe, download))


def test_the_column_lies_beside_the_messages_and_changes_nothing_that_is_trained_on(
    store: FolderStore, file: str
) -> None:
    without, with_it = parsed(store, file, None), parsed(store, file, "channel")
    assert not without.file(SLICES_FILE).exists()
    assert (with_it.key != without.key, with_it.digest) == (True, without.digest)
    table = load_table(with_it.file(SLICES_FILE), SLICES)
    assert table["id"].tolist() == list(range(1, 25))  # row 0 has no text
    assert table["value"].tolist() == [channel for _, _, channel in ROWS]


def test_test_messages_find_their_values_by_their_ids(store: FolderStore, file: str) -> None:
    found = parsed(store, file, "channel")
    ids = SLICES.remove(1)
    save_parts(load_parts(found.file("messages"), ids).iloc[[20, 3, 15]], store.root / "test", ids)
    test = Parts(store.root / "test", ids)
    assert slice_values("channel", found, test) == {"channel": [ROWS[row][2] for row in (20, 3, 15)]}
    assert slice_values(None, found, test) == {}


def test_a_column_that_is_not_there_is_named_with_its_flag(store: FolderStore, file: str) -> None:
    with pytest.raises(MessagesError, match=r"no column 'region'.*--evaluation\.slices"):
        parsed(store, file, "region")
    with pytest.raises(RecipeError, match=r"evaluation\.slices, data\.text_column and data\.label_column must all be"):
        build_recipe({"data": {"url": file}, "evaluation": {"slices": 2}})
