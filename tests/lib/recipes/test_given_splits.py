"""`data.files` in a recipe and on the command line: what it may hold, and the sentence for what it may not."""

from __future__ import annotations

from typing import Any

import pytest

from lib.errors import RecipeError
from lib.recipes.fields import section_names
from lib.recipes.instruct import InstructRecipe
from lib.recipes.reading import build_recipe as build
from tests.support.recipes import build_recipe, load_recipe


def data(files: Any, **more: Any) -> dict[str, Any]:
    return {"data": {"files": files, **more}}


def refusal(values: dict[str, Any], overrides: dict[str, str] | None = None) -> str:
    with pytest.raises(RecipeError) as refused:
        build_recipe(values, overrides)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_each_split_is_a_file_or_several() -> None:
    files = build_recipe(data({"train": ["a.csv", "https://example.org/b.csv"], "test": "t.csv"})).data.files
    assert files.given() == {"train": ("a.csv", "https://example.org/b.csv"), "test": ("t.csv",)}


@pytest.mark.parametrize("files", ["in/*.csv", ["a.csv", "b.csv"]])
def test_files_without_names_are_all_train(files: str | list[str]) -> None:
    given = {"train": (files,) if isinstance(files, str) else tuple(files)}
    assert build_recipe(data(files)).data.files.given() == given
    flag = files if isinstance(files, str) else f"[{', '.join(files)}]"
    assert load_recipe("quickstart", {"data.source": "file", "data.files": flag}).data.files.given() == given


def test_files_inside_an_archive_are_named_by_split() -> None:
    members = build_recipe({"data": {"url": "a.zip", "members": {"train": "a.csv", "test": "b.csv"}}}).data.members
    assert members.given() == {"train": "a.csv", "test": "b.csv"}


def test_without_it_nothing_is_given() -> None:
    recipe = build_recipe({"data": {"url": "a.csv", "files": None}})
    assert recipe.data.files.given() == {}
    assert recipe.model_dump(mode="json")["data"]["files"] == {"train": None, "validation": None, "test": None}


@pytest.mark.parametrize(
    "overrides",
    [
        {"data.files.train": "a.csv", "data.files.test": "[t.csv, u.csv]"},
        {"data.files": "{train: a.csv, test: [t.csv, u.csv]}"},
        {"data.files": "{train: a.csv}", "data.files.test": "[t.csv, u.csv]"},
        {"data": "{files: {train: a.csv, test: [t.csv, u.csv]}}"},
    ],
)
def test_a_command_line_gives_them_one_by_one_or_together(overrides: dict[str, str]) -> None:
    files = load_recipe("quickstart", {"data.source": "file", **overrides}).data.files
    assert files.given() == {"train": ("a.csv",), "test": ("t.csv", "u.csv")}


def test_a_command_line_changes_what_a_recipe_has() -> None:
    values = data({"train": "a.csv", "test": "t.csv"})
    files = build_recipe(values, {"data.files": "{test: null, validation: v.csv}"}).data.files
    assert files.given() == {"train": ("a.csv",), "validation": ("v.csv",)}
    assert values == data({"train": "a.csv", "test": "t.csv"})  # the caller's own


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            data({"test": "t.csv"}),
            "the recipe: data.files has test but no train: name the file to train on as data.files.train",
        ),
        (
            data({"validation": "v.csv", "test": "t.csv"}),
            "the recipe: data.files has validation and test but no train: name the file to train on as"
            " data.files.train",
        ),
        (
            data({"train": "a.csv"}, url="b.csv"),
            "the recipe: data.url and data.files both say where the texts are: leave one of them out",
        ),
        (
            data({"train": "a.csv"}, source="sample"),
            "the recipe: data.files names files of your own, but data.source is 'sample': set it to 'file', or leave"
            " data.files out",
        ),
        (
            data({"train": "a.csv"}, sha256="0" * 64),
            "the recipe: data.sha256 is about the one file of data.url: leave it out with data.files",
        ),
        (
            data({"train": "a.zip"}, member="a.csv"),
            "the recipe: data.member is about the one file of data.url: leave it out with data.files",
        ),
        (
            data({"train": ["a.csv", "b.csv"], "test": "b.csv"}),
            "the recipe: data.files names 'b.csv' twice, in train and in test: leave it out of one",
        ),
        (
            data({"train": "a.csv", "dev": "b.csv"}),
            "the recipe: there is no field data.files.dev: did you mean data.files.train, data.files.validation or"
            " data.files.test?",
        ),
        (
            data({"train": []}),
            "the recipe: data.files.train is [], but must be text (not empty), a list of texts or null",
        ),
        (
            data({"train": 7}),
            "the recipe: data.files.train is 7, but must be text (not empty), a list of texts or null",
        ),
        (data(7), "the recipe: data.files is 7, but must be a group of fields"),
        (
            data("a.csv", url="b.csv"),
            "the recipe: data.url and data.files both say where the texts are: leave one of them out",
        ),
        (data([]), "the recipe: data.files.train is [], but must be text (not empty), a list of texts or null"),
        (
            {"data": {"url": "a.zip", "members": {"test": "t.csv"}}},
            "the recipe: data.members has test but no train: name the file to train on as data.members.train",
        ),
        (
            {"data": {"url": "a.zip", "members": {"train": "t.csv"}, "member": "t.csv"}},
            "the recipe: data.member is about one data file: leave it out with data.members",
        ),
        (
            data("a.zip", members={"train": "t.csv"}),
            "the recipe: data.members are files inside the archive of data.url: say where that is",
        ),
        (
            {"data": {}},
            "the recipe: data.url is missing: say where the file is, or name another data.source than 'file'",
        ),
    ],
)
def test_refused_in_one_sentence(values: dict[str, Any], sentence: str) -> None:
    assert refusal(values) == sentence


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            {"data.members": "a.csv"},
            "--data.members is a group of fields: name one of them, such as --data.members.train",
        ),
        (
            {"data.files": "[1, 2]"},
            "--data.files.train is [1, 2], but must be text (not empty), a list of texts or null",
        ),
        (
            {"data.files": "{train: a.csv"},
            "--data.files, line 1 is not valid YAML: expected ',' or '}', but got '<stream end>'",
        ),
        (
            {"data.files": "{train: a.csv, dev: b.csv}"},
            "there is no flag --data.files.dev: did you mean --data.files.train, --data.files.validation or"
            " --data.files.test?",
        ),
        (
            {"data.files.train": "[1, 2]"},
            "--data.files.train is [1, 2], but must be text (not empty), a list of texts or null",
        ),
        ({"data.file.train": "a.csv"}, "there is no flag --data.file.train: did you mean --data.files.train?"),
    ],
)
def test_refused_on_the_command_line_in_one_sentence(overrides: dict[str, str], sentence: str) -> None:
    assert refusal(data({}), overrides) == sentence


def test_instructions_have_no_given_splits() -> None:
    assert "data.files" not in section_names(InstructRecipe)
    with pytest.raises(
        RecipeError, match=r"data\.files is .*, but must be text \(not empty\), a list of texts or null"
    ):
        build({"data": {"files": {"train": "a.json"}}}, model=InstructRecipe)


def test_instructions_may_be_in_several_files() -> None:
    recipe = build({"data": {"files": ["a.json", "b.json"]}}, model=InstructRecipe)
    assert recipe.data.given_files() == {"train": ("a.json", "b.json")}
    with pytest.raises(RecipeError, match=r"data\.url and data\.files both say where the texts are"):
        build({"data": {"files": "a.json", "url": "b.json"}}, model=InstructRecipe)


# Data sets on a hub


def test_a_data_set_on_a_hub_is_a_source() -> None:
    recipe = build_recipe({}, {"data.source": "hub", "data.repository": "owner/name", "data.splits.train": "all"})
    assert (recipe.data.repository, recipe.data.splits.given()) == ("owner/name", {"train": "all"})
    other = build({"data": {"source": "hub", "repository": "o/n", "splits": ["a", "b"]}}, model=InstructRecipe)
    assert other.data.splits == ("a", "b")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"source": "hub"}, "data.repository is missing: name the data set on the hub, as owner/name"),
        (
            {"source": "hub", "repository": "owner"},
            "data.repository is 'owner', but must be a name such as owner/name or null",
        ),
        (
            {"source": "hub", "repository": "o/n", "url": "a.csv"},
            "data.url is about files elsewhere, but data.source is 'hub': leave one of them out",
        ),
        (
            {"source": "hub", "repository": "o/n", "files": "a.csv"},
            "data.files is about files elsewhere, but data.source is 'hub': leave one of them out",
        ),
        (
            {"url": "a.csv", "repository": "o/n"},
            "data.repository is about a data set on a hub, but data.source is 'file': set it to 'hub'",
        ),
        (
            {"url": "a.csv", "splits": {"train": "all"}},
            "data.splits is about a data set on a hub, but data.source is 'file': set it to 'hub'",
        ),
        (
            {"source": "hub", "repository": "o/n", "splits": {"test": "test"}},
            "data.splits has test but no train: name the split to train on as data.splits.train",
        ),
    ],
)
def test_a_hub_is_refused_in_one_sentence_too(values: dict[str, Any], sentence: str) -> None:
    assert refusal({"data": values}) == f"the recipe: {sentence}"


def by_column(**fields: Any) -> dict[str, Any]:
    return {"data": {"url": "a.csv"}, "split": {"column": "fold", **fields}}


def test_a_column_can_say_which_split_a_row_belongs_to() -> None:
    recipe = build_recipe(by_column(), {"split.names": "{test: [T, 3], train: A}"})
    assert recipe.split.names == {"test": ("T", "3"), "train": ("A",)}
    assert recipe.has_given_splits
    assert build_recipe(recipe.model_dump(mode="json")) == recipe
    assert not build_recipe({"data": {"url": "a.csv"}}).has_given_splits


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data": {"url": "a.csv"}, "split": {"names": {"test": ["T"]}}}, "name it as split.column"),
        (by_column(names={"tst": ["T"]}), "must be {split: [value, …]} or null"),
        (by_column(column=3), "must all be names (a file with a header row) or all positions"),
        (
            {**by_column(), **data({"train": "a.csv", "test": "t.csv"})},
            "split.column and data.files both say which messages are of which split",
        ),
        (
            {"data": {"url": "a.csv"}, "split": {"near_duplicates": "drop_from_train"}},
            "but no validation or test split is given",
        ),
    ],
)
def test_splits_that_contradict_each_other_are_refused(values: dict[str, Any], words: str) -> None:
    assert words in refusal(values)
