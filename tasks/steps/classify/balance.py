"""Balances classes of unequal size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.messages.balance import balance_messages
from lib.data.tables import MESSAGES, load_table, save_table
from tasks.engine.step import Work, step

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact


@step("balance", reads=["balance.method", "balance.seed"])
def balance(work: Work[ClassifyRecipe], messages: Artifact) -> None:
    """Undersamples or oversamples as the recipe says: `balanced.parquet`, and the rest in `reserve.parquet`."""
    balanced = balance_messages(
        load_table(messages.file("messages.parquet"), MESSAGES),
        method=work.recipe.balance.method,
        seed=work.recipe.balance.seed,
    )
    save_table(balanced.balanced, work.folder / "balanced.parquet", MESSAGES)
    save_table(balanced.reserve, work.folder / "reserve.parquet", MESSAGES)
