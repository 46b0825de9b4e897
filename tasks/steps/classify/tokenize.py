"""Tokenizes messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.tables import MESSAGES, SPLIT, SPLITS, TOKENS, load_labels, load_table, save_table
from lib.files.jsonfile import save_json
from lib.text.tokenizer import load_tokenizer
from lib.text.tokens import tokenize_splits
from tasks.engine.step import Work, step
from tasks.steps.tokenizer import context_length

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact


@step("tokenize", reads=["encoding.max_length"])
def tokenize(work: Work[ClassifyRecipe], balance: Artifact, holdout: Artifact, tokenizer: Artifact) -> None:
    """Tokenizes and truncates: a Parquet file for each split and the reserve, `tokens.json` with lengths."""
    labels = load_labels(holdout.file("train.parquet"))
    tables = {name: load_table(holdout.file(f"{name}.parquet"), SPLIT) for name in SPLITS}
    tables["reserve"] = load_table(balance.file("reserve.parquet"), MESSAGES)
    tokenized = tokenize_splits(
        tables,
        labels=labels,
        tokenizer=load_tokenizer(tokenizer.folder),
        max_length=work.recipe.encoding.max_length,
        context_length=context_length(tokenizer),
    )
    for name, table in tokenized.tokens.items():
        save_table(table, work.folder / f"{name}.parquet", TOKENS, labels=labels)
    save_json(tokenized.report, work.folder / "tokens.json")
