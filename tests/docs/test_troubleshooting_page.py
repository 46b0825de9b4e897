"""docs/troubleshooting.md has every sentence that the program can say, and what to do about it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from docs.sentences import Source
from docs.troubleshooting import area, section
from lib import errors
from lib.data.source.download import download
from lib.model.places import find_weights
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.reading import build_recipe, load_recipe

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
# What these say are the words of others: errors that are passed on, and warnings that a function has returned.
PASSED_ON = {
    "lib.data.entries.reading",
    "lib.data.source.delimited",
    "tasks.steps.instruct.entries",
    "tasks.steps.instruct.tokenize",
    "lib.data.messages.reading",
    "lib.data.source.rows",
    "lib.evaluation.judge.asking",
    "lib.export.candidates",
    "lib.recipes.reading",
    "lib.recipes.search",
    "lib.store.folder",
    "lib.store.objects",
    "tasks.steps.classify.features",
    "tasks.steps.classify.messages",
    "tasks.steps.classify.tokenize",
    "tasks.use.export",
}


def said_in(page: str) -> list[re.Pattern[str]]:
    """The sentences of the page's tables as patterns of what is said."""
    rows = re.findall(r"^\| (.+) \| \[(?:lib|tasks|flows)/", page, flags=re.MULTILINE)
    return [re.compile(as_pattern(re.sub(r"\\(.)", r"\1", row))) for row in rows]


def as_pattern(sentence: str) -> str:
    """What a sentence of the page matches: anything for ‹a value›, [what is said sometimes], (one | another)."""
    pattern = re.sub("‹[^›]*›", ".*", re.escape(sentence))
    return re.sub(r"\\\((.*?)\\ \\\|\\ (.*?)\\\)", r"(?:\1|\2)", pattern).replace(r"\[", "(?:").replace(r"\]", ")?")


def test_every_class_says_why_and_what_to_do() -> None:
    classes = Source().errors
    assert list(classes) == [each.__name__ for each in errors.FinetuneError.__subclasses__()]
    assert PAGE.count("**Why:**") == PAGE.count("**What to do:**") == len(classes)
    for each in classes:
        assert f"*{each}.*" in PAGE
    (silent,) = ast.parse('class SilentError(FinetuneError):\n    """Something is wrong."""\n').body
    assert isinstance(silent, ast.ClassDef)
    with pytest.raises(ValueError, match="SilentError needs the paragraphs 'Why: "):
        section(silent, [])


def test_what_says_something_says_it_on_the_page() -> None:
    silent = {module for module, _ in Source().unsaid()}
    assert silent == PASSED_ON, "write the words where the error is raised, or in a function that returns them"


def test_a_module_of_no_area_is_refused() -> None:
    assert area("lib.data.source.kinds") == area("lib.data.source")
    with pytest.raises(KeyError, match="elsewhere"):
        area("elsewhere.module")


def no_field() -> Any:
    return load_recipe("quickstart", {"training.epoch": "3"}, folder="classify", model=ClassifyRecipe)


def no_recipe() -> Any:
    return load_recipe("quickstrat", {}, folder="classify", model=ClassifyRecipe)


def fractions() -> Any:
    split = {"train": 0.9, "validation": 0.1, "test": 0.1}
    return build_recipe({"name": "x", "data": {"source": "sample"}, "split": split}, model=ClassifyRecipe)


def no_file() -> Any:
    return download(["/nowhere/texts.csv"], Path("/nowhere"), scratch=Path("/nowhere"))


def no_weights() -> Any:
    return find_weights("./nowhere")


@pytest.mark.parametrize("provoked", [no_field, no_recipe, fractions, no_file, no_weights])
def test_what_is_said_is_found_on_the_page(provoked: Callable[[], Any]) -> None:
    with pytest.raises(errors.FinetuneError) as raised:
        provoked()
    sentence = re.sub(r"^the recipe: ", "", str(raised.value))
    assert [pattern.pattern for pattern in said_in(PAGE) if pattern.search(sentence)], sentence


def test_the_example_of_a_wrong_value_is_what_is_said() -> None:
    with pytest.raises(errors.RecipeError) as raised:
        load_recipe("quickstart", {"training.epochs": "ten"}, folder="classify", model=ClassifyRecipe)
    assert str(raised.value) in " ".join(PAGE.split())
