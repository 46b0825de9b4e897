"""Balances classes of unequal size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.messages.balance import balance_messages
from lib.data.parts import load_parts, save_parts
from lib.data.tables import KEYED_MESSAGES
from tasks.engine.step import Work, step

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact


@step("balance", reads=["balance.method", "balance.seed"])
def balance(work: Work[ClassifyRecipe], messages: Artifact) -> None:
    """Undersamples or oversamples as the recipe says: `balanced`, and the rest in `reserve`."""
    balanced = balance_messages(
        load_parts(messages.file("messages"), KEYED_MESSAGES),
        method=work.recipe.balance.method,
        seed=work.recipe.balance.seed,
    )
    save_parts(balanced.balanced, work.folder / "balanced", KEYED_MESSAGES)
    save_parts(balanced.reserve, work.folder / "reserve", KEYED_MESSAGES)
