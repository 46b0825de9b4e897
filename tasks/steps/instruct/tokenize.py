"""Tokenizes entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.tables import ENTRIES, ENTRY_TOKENS, SPLITS, load_table, save_table
from lib.files.jsonfile import load_json, save_json
from lib.text.entry_tokens import tokenize_entries as encode
from lib.text.prompts import CHAT, chosen_style
from lib.text.tokenizer import load_tokenizer
from tasks.engine.step import Work, step
from tasks.steps.tokenizer import context_length

if TYPE_CHECKING:
    from lib.recipes.instruct import InstructRecipe
    from lib.store.artifacts import Artifact
    from lib.training.instruct.batches import EncodedEntries


@step("tokenize_entries", reads=["encoding", "prompt.style"])
def tokenize_entries(work: Work[InstructRecipe], split_entries: Artifact, tokenizer: Artifact) -> None:
    """Formats each entry as a prompt, tokenizes and truncates: a Parquet file for each split with the position where
    the response starts, `tokens.json` with lengths, truncation counts and whether a chat template made the texts."""
    style = chosen_style(work.recipe.prompt.style, tokenizer.folder)
    tokenized = encode(
        {name: load_table(split_entries.file(f"{name}.parquet"), ENTRIES) for name in SPLITS},
        style=style,
        tokenizer=load_tokenizer(tokenizer.folder),
        max_length=work.recipe.encoding.max_length,
        context_length=context_length(tokenizer),
    )
    for name, table in tokenized.tokens.items():
        save_table(table, work.folder / f"{name}.parquet", ENTRY_TOKENS)
    save_json({**tokenized.report, CHAT: style.marked}, work.folder / "tokens.json")


def encoded_splits(recipe: InstructRecipe, tokenize_entries: Artifact) -> dict[str, EncodedEntries]:
    """Loads every split, with the targets that the recipe wants to be learnt."""
    from lib.training.instruct.batches import load_splits

    mask = recipe.prompt.mask_instruction
    if mask is None:
        mask = bool(load_json(tokenize_entries.file("tokens.json"))[CHAT])
    return load_splits(tokenize_entries.folder, SPLITS, mask_instruction=mask)
