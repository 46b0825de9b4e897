"""Tokenizes entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.entries.files import earlier_turns, load_entries
from lib.data.tables import EARLIER_ANSWERS, ENTRY_TOKENS, LONG_ENTRIES, SPLITS, load_table, save_table
from lib.files.jsonfile import load_json, save_json
from lib.text.entry_tokens import tokenize_entries as encode
from lib.text.prompts import CHAT, chosen_style
from lib.text.tokenizer import load_tokenizer
from tasks.engine.step import Work, step
from tasks.steps.tokenizer import context_length

if TYPE_CHECKING:
    import pandas as pd

    from lib.recipes.instruct import InstructRecipe
    from lib.store.artifacts import Artifact
    from lib.training.instruct.batches import EncodedEntries

NAMED = 5  # long entries in a warning


@step("tokenize_entries", reads=["encoding", "prompt.style"])
def tokenize_entries(work: Work[InstructRecipe], split_entries: Artifact, tokenizer: Artifact) -> None:
    """Formats each entry as a prompt, tokenizes and truncates: a Parquet file for each split with the position where
    the response starts, `long_entries.parquet` with those that are longer than the model reads, `tokens.json` with
    lengths, counts of what was cut or left out, and whether a chat template made the texts."""
    style = chosen_style(work.recipe.prompt.style, tokenizer.folder)
    splits = {name: load_entries(split_entries.file(f"{name}.parquet")) for name in SPLITS}
    tokenized = encode(
        splits,
        style=style,
        tokenizer=load_tokenizer(tokenizer.folder),
        max_length=work.recipe.encoding.max_length,
        context_length=context_length(tokenizer),
        too_long=work.recipe.encoding.too_long,
    )
    for name, table in tokenized.tokens.items():
        save_table(table, work.folder / f"{name}.parquet", ENTRY_TOKENS, optional=EARLIER_ANSWERS)
    save_table(tokenized.long, work.folder / "long_entries.parquet", LONG_ENTRIES)
    if len(tokenized.long):
        work.warn(_long_in_words(tokenized.long, tokenized.max_length))
    remark = style.remark({turn.role for split in splits.values() for turns in earlier_turns(split) for turn in turns})
    if remark:
        work.warn(remark)
    save_json({**tokenized.report, CHAT: style.marked}, work.folder / "tokens.json")


def _long_in_words(long: pd.DataFrame, max_length: int) -> str:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in long["outcome"].value_counts().items())
    first = ", ".join(str(entry + 1) for entry in long["id"].head(NAMED))
    return (
        f"entries longer than the {max_length:,} tokens that the model reads: {counts}; the first are {first} (counted"
        " from 1), and long_entries.parquet of the step tokenize_entries names all"
    )


def answerable(split_entries: Artifact, tokenize_entries: Artifact, split: str) -> pd.DataFrame:
    """Loads a split's entries without those that were left out as too long."""
    entries = load_entries(split_entries.file(f"{split}.parquet"))
    kept = load_table(tokenize_entries.file(f"{split}.parquet"), ENTRY_TOKENS)["id"]
    return entries[entries["id"].isin(kept)].reset_index(drop=True)


def encoded_splits(recipe: InstructRecipe, tokenize_entries: Artifact) -> dict[str, EncodedEntries]:
    """Loads every split, with the targets that the recipe wants to be learnt."""
    from lib.training.instruct.batches import load_splits

    mask = recipe.prompt.mask_instruction
    if mask is None:
        mask = bool(load_json(tokenize_entries.file("tokens.json"))[CHAT])
    return load_splits(tokenize_entries.folder, SPLITS, mask_instruction=mask)
