"""Balances classes of unequal size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lib.data.messages.balance import balance_messages
from lib.data.messages.hashed import balance_by_hash
from lib.data.parts import Parts, PartsWriter, save_rows
from lib.data.tables import KEYED_MESSAGES
from lib.files.disk import copy_folder
from tasks.engine.step import Work, step

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact


@step("balance", reads=["balance.method", "balance.seed", "split.method"])
def balance(work: Work[ClassifyRecipe], messages: Artifact) -> None:
    """Undersamples or oversamples as the recipe says: `balanced`, and the rest in `reserve`."""
    place = messages.file("messages")
    method = work.recipe.balance.method
    if method == "class_weights" or method == "none":
        copy_folder(place, work.folder / "balanced")
        with PartsWriter(work.folder / "reserve", KEYED_MESSAGES):
            return
    table = Parts(place, KEYED_MESSAGES)
    if work.recipe.split.method == "hashed":
        balance_by_hash(table, work.folder, method=method, seed=work.recipe.balance.seed, labels=table.labels)
        return
    rows = table.frame(["id", "label"]).assign(row=np.arange(len(table)))
    balanced = balance_messages(rows, method=method, seed=work.recipe.balance.seed)
    for name, drawn in (("balanced", balanced.balanced), ("reserve", balanced.reserve)):
        save_rows(table, drawn["row"].to_numpy(), work.folder / name, KEYED_MESSAGES)
