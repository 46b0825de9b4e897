"""docs/recipes.md says what the code does."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lib.recipe_file import RECIPES, build_recipe, recipe_fields

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "recipes.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def generate() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "generate.py"))


def test_the_table_is_up_to_date(generate: dict[str, Any]) -> None:
    assert generate["page_with_table"](PAGE) == PAGE, "run `python docs/generate.py`"


def test_the_table_has_a_row_for_every_field(generate: dict[str, Any]) -> None:
    rows = re.findall(r"^\| `([a-z_.0-9]+)` \|", generate["recipe_table"](), flags=re.MULTILINE)
    assert rows == [field.path for field in recipe_fields()]


def test_a_stale_table_is_replaced_and_the_rest_stays(generate: dict[str, Any]) -> None:
    stale = PAGE.replace("passes over the training messages", "something else")
    assert stale != PAGE
    assert generate["page_with_table"](stale) == PAGE


def test_a_page_without_the_markers_is_refused(generate: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs the lines"):
        generate["page_with_table"]("# Recipes\n")


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    script = tmp_path / "generate.py"
    script.write_bytes((DOCS / "generate.py").read_bytes())
    (tmp_path / "recipes.md").write_text(PAGE.replace("text-classifier", "something"), encoding="utf-8")
    subprocess.run([sys.executable, str(script)], cwd=DOCS.parent, env={"PYTHONPATH": str(DOCS.parent)}, check=True)
    assert (tmp_path / "recipes.md").read_text(encoding="utf-8") == PAGE


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.split()[1])
def test_an_example_is_a_recipe(example: str) -> None:
    values = yaml.safe_load(example)
    assert build_recipe(values).name == values["name"]


def test_the_examples_show_all_formats() -> None:
    assert len(EXAMPLES) == 4


def test_every_bundled_recipe_is_introduced() -> None:
    for file in (RECIPES / "classify").glob("*.yaml"):
        assert f"| `{file.stem}` |" in PAGE
