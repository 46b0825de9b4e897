"""Writes the parts of the documentation that come from the code: `python docs/generate.py`.

These are the tables of recipe fields, a page for each kind of recipe; what the program can say, in troubleshooting.md;
which faults were tried, in reliability.md. A test fails while a page says something else than the code; nothing between
the markers is written by hand.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from docs.reliability import outcomes_table
from docs.troubleshooting import tables
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.compare import CompareRecipe
from lib.recipes.fields import RecipeField, recipe_fields
from lib.recipes.instruct import InstructRecipe

FOLDER = Path(__file__).resolve().parent
PAGES: dict[str, type[BaseModel]] = {
    "recipes.md": ClassifyRecipe,
    "instruct-recipes.md": InstructRecipe,
    "comparing.md": CompareRecipe,
}
SENTENCES = "troubleshooting.md"
OUTCOMES = "reliability.md"


def recipe_table(recipe: type[BaseModel]) -> str:
    """All fields in Markdown: for each section what it is about, and a table."""
    parts = []
    for section in dict.fromkeys(field.path.rpartition(".")[0] for field in recipe_fields(recipe)):
        model = _section(recipe, section)
        rows = [_row(field) for field in recipe_fields(recipe) if field.path.rpartition(".")[0] == section]
        title = f"### `{section}`\n\n{inspect.getdoc(model)}\n\n" if section else ""
        parts.append(f"{title}| field | value | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows))
    return "\n\n".join(parts)


def _section(model: Any, path: str) -> Any:
    """Returns the model of the group at a dotted path ("": the recipe itself)."""
    for name in filter(None, path.split(".")):
        model = model.model_fields[name].annotation
    return model


def _row(field: RecipeField) -> str:
    # json.dumps writes a value as YAML understands it: null, true, "text".
    cells = [f"`{field.path}`", field.kind, f"`{json.dumps(field.default)}`", field.description]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def written(name: str, page: str) -> str:
    """Returns the text of a page as it must be."""
    if name == SENTENCES:
        return with_part(page, "sentences", tables())
    if name == OUTCOMES:
        return with_part(page, "outcomes", outcomes_table())
    return with_part(page, "fields", recipe_table(PAGES[name]))


def with_part(page: str, what: str, part: str) -> str:
    """Returns the page with what stands between its markers; raises ValueError if the page has lost one."""
    begin, end = f"<!-- {what}: made by docs/generate.py -->", f"<!-- end of {what} -->"
    before, has_begin, rest = page.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise ValueError(f"the page needs the lines {begin} and {end}")
    return f"{before}{begin}\n\n{part}\n\n{end}{after}"


if __name__ == "__main__":
    for name in (*PAGES, SENTENCES, OUTCOMES):
        page = FOLDER / name
        page.write_text(written(name, page.read_text(encoding="utf-8")), encoding="utf-8")
