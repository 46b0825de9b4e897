"""Writes the parts of the documentation that come from the code: `python docs/generate.py`.

So far this is the table of recipe fields in docs/recipes.md. A test fails while the page says something else than the
code; nothing between the markers is written by hand.
"""

from __future__ import annotations

import json
from pathlib import Path

from lib.recipe import ClassifyRecipe
from lib.recipe_file import RecipeField, recipe_fields

PAGE = Path(__file__).resolve().parent / "recipes.md"
BEGIN = "<!-- fields: made by docs/generate.py -->"
END = "<!-- end of fields -->"


def recipe_table() -> str:
    """All fields in Markdown: for each section what it is about, and a table."""
    parts = []
    for section in dict.fromkeys(field.path.rpartition(".")[0] for field in recipe_fields()):
        model = ClassifyRecipe.model_fields[section].annotation if section else ClassifyRecipe
        assert model is not None
        fields = [field for field in recipe_fields() if field.path.rpartition(".")[0] == section]
        rows = [_row(field) for field in fields]
        title = f"### `{section}`\n\n{model.__doc__}\n\n" if section else ""
        parts.append(f"{title}| field | value | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows))
    return "\n\n".join(parts)


def _row(field: RecipeField) -> str:
    # json.dumps writes a value as YAML understands it: null, true, "text".
    cells = [f"`{field.path}`", field.kind, f"`{json.dumps(field.default)}`", field.description]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page_with_table(page: str) -> str:
    """The page's text with the table as it must be; raises ValueError if the page has lost a marker."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} needs the lines {BEGIN} and {END}")
    return f"{before}{begin}\n\n{recipe_table()}\n\n{end}{after}"


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
