"""The pages about recipes of each kind say what the code does."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.comparing import said
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.compare import CompareRecipe
from lib.recipes.fields import recipe_fields
from lib.recipes.instruct import InstructRecipe
from lib.recipes.reading import RECIPES, build_recipe

DOCS = Path(__file__).resolve().parents[2] / "docs"
AnyRecipe = ClassifyRecipe | InstructRecipe | CompareRecipe
KINDS: dict[str, tuple[str, type[AnyRecipe]]] = {
    "recipes.md": ("classify", ClassifyRecipe),
    "instruct-recipes.md": ("instruct", InstructRecipe),
    "comparing.md": ("compare", CompareRecipe),
}
TEXTS = {name: (DOCS / name).read_text(encoding="utf-8") for name in KINDS}
EXAMPLES = [
    pytest.param(example, KINDS[name][1], id=f"{name}: {example.split()[1]}")
    for name, text in TEXTS.items()
    for example in re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
]


@pytest.fixture(scope="module")
def generate() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "generate.py"))


def test_every_kind_of_recipe_has_a_page(generate: dict[str, Any]) -> None:
    assert generate["PAGES"] == {name: recipe for name, (_, recipe) in KINDS.items()}


@pytest.mark.parametrize("name", KINDS)
def test_the_table_is_up_to_date(name: str, generate: dict[str, Any]) -> None:
    assert generate["written"](name, TEXTS[name]) == TEXTS[name], "run `python docs/generate.py`"


@pytest.mark.parametrize("name", KINDS)
def test_the_table_has_a_row_for_every_field(name: str, generate: dict[str, Any]) -> None:
    recipe = KINDS[name][1]
    rows = re.findall(r"^\| `([a-z_.0-9]+)` \|", generate["recipe_table"](recipe), flags=re.MULTILINE)
    assert rows == [field.path for field in recipe_fields(recipe)]


@pytest.mark.parametrize("name", KINDS)
def test_a_stale_table_is_replaced_and_the_rest_stays(name: str, generate: dict[str, Any]) -> None:
    stale = TEXTS[name].replace(recipe_fields(KINDS[name][1])[0].description, "something else")
    assert stale != TEXTS[name]
    assert generate["written"](name, stale) == TEXTS[name]


def test_a_page_without_the_markers_is_refused(generate: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the page needs the lines <!-- fields: made by"):
        generate["written"]("recipes.md", "# Recipes\n")


def test_the_command_writes_the_pages(tmp_path: Path) -> None:
    script = tmp_path / "generate.py"
    script.write_bytes((DOCS / "generate.py").read_bytes())
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text.replace("the registered model's name", "something"), encoding="utf-8")
    sentences = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    (tmp_path / "troubleshooting.md").write_text(sentences.replace("is not UTF-8", "something"), encoding="utf-8")
    (tmp_path / "reliability.md").write_bytes((DOCS / "reliability.md").read_bytes())
    subprocess.run([sys.executable, str(script)], cwd=DOCS.parent, env={"PYTHONPATH": str(DOCS.parent)}, check=True)
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in KINDS} == TEXTS
    written = (tmp_path / "troubleshooting.md").read_text(encoding="utf-8")
    assert written == sentences, "run `python docs/generate.py`"


@pytest.mark.parametrize(("example", "recipe"), EXAMPLES)
def test_an_example_is_a_recipe(example: str, recipe: type[AnyRecipe]) -> None:
    values = yaml.safe_load(example)
    assert build_recipe(values, model=recipe).name == values["name"]


def test_the_examples_show_all_formats() -> None:
    assert len(EXAMPLES) == 6 + 4 + 2


@pytest.mark.parametrize("name", KINDS)
def test_every_bundled_recipe_is_introduced(name: str) -> None:
    for file in (RECIPES / KINDS[name][0]).glob("*.yaml"):
        assert f"| `{file.stem}` |" in TEXTS[name]


def test_what_eight_variants_cost_is_what_was_measured() -> None:
    results = DOCS.parent / "benchmarks" / "results" / "comparing" / "cpu-2-cores.json"
    assert said(json.loads(results.read_text())) in TEXTS["comparing.md"]
