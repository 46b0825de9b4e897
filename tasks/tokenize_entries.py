"""Entries as tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.tables import ENTRIES, ENTRY_TOKENS, SPLITS, load_table, save_table
from lib.jsonfile import save_json
from lib.model.places import model_config
from lib.text.encoding import load_encoding
from lib.text.instruction_tokens import tokenize_entries as encode
from lib.text.prompts import named_style
from tasks.step import Work, step

if TYPE_CHECKING:
    from lib.artifacts import Artifact
    from lib.instruct_recipe import InstructRecipe
    from tasks.step import Inputs


def _context_length(recipe: InstructRecipe) -> int:
    model = recipe.model
    return model_config(model.size, model.weights, model.revision).context_length


def _identity(recipe: InstructRecipe, inputs: Inputs) -> dict[str, str]:  # noqa: ARG001 - what an identity is given
    """Of the model only the context length counts, and that it has the shape that the recipe says."""
    return {"context_length": str(_context_length(recipe))}


@step(
    "tokenize_entries",
    reads=["encoding", "prompt.style"],
    unkeyed=["model.size", "model.weights", "model.revision"],
    identity=_identity,
)
def tokenize_entries(work: Work[InstructRecipe], split_entries: Artifact) -> None:
    """Puts the prompt's words around each entry, encodes and cuts: a Parquet file for each split with the position
    where the response starts, `tokens.json` with lengths and cuts."""
    tokenized = encode(
        {name: load_table(split_entries.file(f"{name}.parquet"), ENTRIES) for name in SPLITS},
        style=named_style(work.recipe.prompt.style),
        encoding=load_encoding(work.recipe.encoding.name),
        max_length=work.recipe.encoding.max_length,
        context_length=_context_length(work.recipe),
    )
    for name, table in tokenized.tokens.items():
        save_table(table, work.folder / f"{name}.parquet", ENTRY_TOKENS)
    save_json(tokenized.report, work.folder / "tokens.json")
