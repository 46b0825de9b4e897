"""Recipes of the second flow: defaults, presets, what contradicts what, and reading them like a classifier's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib.errors import RecipeError
from lib.model.gpt2.sizes import SIZES
from lib.recipes.classifier import Training
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.fields import recipe_fields
from lib.recipes.instruct import PRESETS, InstructRecipe, InstructTraining
from lib.recipes.mistakes import unknown_field
from lib.recipes.reading import RECIPES, build_recipe, load_recipe
from lib.recipes.sections import Model, Optimisation

BUNDLED = ["book", "gpt2-medium", "gpt2-small", "quickstart", "smollm2"]
PUBLISHED = {"data": {"source": "published"}}
BOOK = {
    "name": "book",
    "data": {
        "source": "published",
        "url": [
            "https://raw.githubusercontent.com/rasbt/LLMs-from-scratch/main/ch07/01_main-chapter-code/instruction-data.json"
        ],
        "sha256": "7e09a9af353722ca15c18bc580f093f9c39d3178335a75177319cb1e1d163944",
        "member": None,
        "files": None,
        "repository": None,
        "configuration": None,
        "revision": None,
        "splits": None,
        "empty_text": "error",
        **dict.fromkeys(("format", "encoding", "separator", "quoting", "sheet")),
        "bad_rows": "error",
        "columns": dict.fromkeys(("instruction", "input", "output", "system", "messages", "role", "content")),
    },
    "split": {"train": 0.85, "test": 0.1, "shuffle": False, "seed": 123, "group_duplicates": False},
    "prompt": {"style": "alpaca", "mask_instruction": False},
    "encoding": {"max_length": 1024, "too_long": "cut"},
    "model": {
        "size": "gpt2-medium",
        "weights": "openai-community/gpt2-medium",
        "revision": None,
        "dropout": 0.0,
        "seed": 123,
        "causal_mask": True,
        "tied_output": False,
    },
    "lora": {
        "rank": 8,
        "alpha": 8.0,
        "dropout": 0.0,
        "layers": None,
        "blocks": None,
    },
    "training": {
        "trainable": "all",
        "epochs": 2,
        "batch_size": 8,
        "processes": 1,
        "sharding": "none",
        "order": "published",
        "learning_rate": 5e-5,
        "weight_decay": 0.1,
        "schedule": "constant",
        "warmup_steps": 0,
        "gradient_clip": None,
        "gradient_accumulation": 1,
        "gradient_checkpointing": False,
        "seed": 123,
        "evaluate_every": 5,
        "evaluate_batches": 5,
        "checkpoint_every": 100,
        "keep": "last",
        "patience": None,
        "precision": "float32",
        "device": "auto",
        "published_figures": True,
    },
    "respond": {
        "max_new_tokens": 256,
        "batch_size": 16,
        "temperature": 0.0,
        "top_k": None,
        "top_p": None,
        "seed": 123,
    },
    "judge": {
        "provider": "ollama",
        "url": None,
        "model": "llama3",
        "key_variable": "OPENAI_API_KEY",
        "seed": 123,
        "temperature": 0.0,
        "num_ctx": 2048,
        "parallel": 4,
        "retries": 3,
        "reminders": 1,
        "anchors": 10,
        "timeout": 300.0,
    },
    "evaluation": {"confidence": 0.95},
    "published": {
        "weights": ["6dcaa7a952f72f9298047fd5137cd6e4f05f41da"],
        "before_loss": [3.8259, 3.7619],
        "judge_mean": 49.45,
    },
    "registry": {"name": "instructions-book"},
    "cluster": {"kind": "local", "address": None, "workers": 1},
}


def built(values: dict[str, Any], overrides: dict[str, str] | None = None) -> InstructRecipe:
    return build_recipe(values, overrides, origin="recipe mine", model=InstructRecipe)


def loaded(name: str, overrides: dict[str, str] | None = None) -> InstructRecipe:
    return load_recipe(name, overrides, folder="instruct", model=InstructRecipe)


def refusal(values: dict[str, Any], overrides: dict[str, str] | None = None) -> str:
    with pytest.raises(RecipeError) as refused:
        built(values, overrides)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# -- bundled recipes --------------------------------------------------------------------------------------------


def test_the_bundled_recipes() -> None:
    assert sorted(file.stem for file in (RECIPES / "instruct").glob("*.yaml")) == BUNDLED


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_recipe_loads_under_its_own_name_and_again_from_what_is_stored(name: str) -> None:
    recipe = loaded(name)
    assert recipe.name == name
    assert built(recipe.model_dump(mode="json")) == recipe


def test_book_is_the_published_procedure() -> None:
    assert loaded("book").model_dump(mode="json") == BOOK


def test_fields_of_pairs_and_of_conversations_are_not_mixed() -> None:
    with pytest.raises(RecipeError, match=r"data\.columns names instruction and messages: an entry has a question and"):
        loaded("quickstart", {"data.columns": "{instruction: a, messages: b}"})


def test_quickstart_needs_no_network_and_no_judge() -> None:
    recipe = loaded("quickstart")
    assert (recipe.data.source, recipe.data.url) == ("sample", None)
    assert (recipe.model.weights, recipe.judge.provider) == ("scratch", "off")
    assert recipe.model.size == "tiny"
    assert SIZES["tiny"].context_length >= recipe.respond.max_new_tokens


@pytest.mark.parametrize("name", ["gpt2-medium", "gpt2-small"])
def test_the_others_keep_duplicates_out_of_the_test_split_and_pad_little(name: str) -> None:
    recipe = loaded(name)
    assert recipe.split.group_duplicates
    assert recipe.training.order == "sorted"


# -- fields -----------------------------------------------------------------------------------------------------


def test_gpt2_medium_is_the_default() -> None:
    recipe = built(PUBLISHED)
    assert (recipe.model.size, recipe.model.weights) == ("from-weights", "openai-community/gpt2-medium")
    assert recipe.training.model_dump() == InstructTraining().model_dump()


def test_shared_fields_are_those_of_a_classifier_but_for_their_defaults() -> None:
    """Their limits and descriptions are taken over, not repeated."""
    fields = {field.path: field for field in recipe_fields(InstructTraining)}
    shared = fields.keys() & {field.path for field in recipe_fields(Training)}
    assert shared == {field.path for field in recipe_fields(Optimisation)}
    theirs = {field.path: field for field in recipe_fields(Training)}
    for name in shared:
        assert (fields[name].kind, fields[name].description) == (theirs[name].kind, theirs[name].description)
    assert {name for name in shared if fields[name].default != theirs[name].default} == {
        "epochs",
        "evaluate_every",
        "checkpoint_every",
    }
    assert theirs["evaluate_every"].default == Training().evaluate_every == 50  # taking over has not changed it
    assert Model(size="tiny").weights == "scratch"


def test_every_field_has_a_description_and_a_kind_in_words() -> None:
    for field in recipe_fields(InstructRecipe):
        assert field.description, field.path
        assert field.kind, field.path
    kinds = {field.path: field.kind for field in recipe_fields(InstructRecipe)}
    assert kinds["prompt.style"] == "auto, alpaca, phi3 or chat"
    assert kinds["data.source"] == "sample, published, file or hub"
    assert list(PRESETS) == ["sample", "published", "file", "hub"]


def test_what_a_recipe_says_wins_over_its_source() -> None:
    data = built({"data": {"source": "published", "url": "mine.json", "sha256": None}}).data
    assert (data.url, data.sha256) == ("mine.json", PRESETS["published"]["sha256"])
    assert built({"data": {"source": "sample"}}).data.sha256 == PRESETS["sample"]["sha256"]
    assert built({"data": {"url": "mine.json"}}).data.sha256 is None


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "data.url is missing: say where the file is, or name another data.source than 'file'"),
        (PUBLISHED | {"split": {"train": 0.9}}, "split.train + split.test is 1: it must be below 1, since validation"),
        (PUBLISHED | {"model": {"causal_mask": False}}, "model.causal_mask is false: a GPT that sees what follows"),
        (PUBLISHED | {"model": {"weights": "scratch"}}, "model.size is 'from-weights', but model.weights is 'scratch'"),
        (PUBLISHED | {"prompt": {"style": "llama"}}, "prompt.style is 'llama', but must be auto, alpaca, phi3 or chat"),
        (PUBLISHED | {"training": {"trainable": "head"}}, "training.trainable is 'head', but must be last_block,"),
        (PUBLISHED | {"training": {"feature_cache": "on"}}, "there is no field training.feature_cache: "),
        (PUBLISHED | {"judge": {"model": ""}}, "judge.model is '', but must be text (not empty)"),
        (PUBLISHED | {"judge": {"parallel": True}}, "judge.parallel is true, but must be a whole number of at least 1"),
        (
            PUBLISHED | {"respond": {"top_k": 40}},
            "respond.top_k is 40, and with respond.temperature 0 nothing is drawn",
        ),
        (PUBLISHED | {"balance": {"seed": 1}}, "there is no field balance: "),
    ],
)
def test_refused_in_one_sentence(values: dict[str, Any], sentence: str) -> None:
    assert refusal(values).startswith(f"recipe mine: {sentence}")


# -- reading ----------------------------------------------------------------------------------------------------


def test_overrides_are_read_by_the_fields_of_this_recipe() -> None:
    overrides = {"judge.provider": "off", "encoding.max_length": "null", "lora.layers": "[mlp.expansion]"}
    recipe = loaded("book", {**overrides, "training.trainable": "lora"})
    assert (recipe.judge.provider, recipe.encoding.max_length) == ("off", None)
    assert recipe.lora.layers == ("mlp.expansion",)


def test_an_unknown_flag_is_compared_with_this_recipes_fields() -> None:
    assert (
        refusal(PUBLISHED, {"judge.paralel": "2"}) == "there is no flag --judge.paralel: did you mean --judge.parallel?"
    )
    assert unknown_field("respond", model=InstructRecipe) == (
        "respond is a group of fields: name one of them, such as respond.max_new_tokens"
    )
    # A classifier's recipe has nothing like it.
    assert "did you mean" not in unknown_field("mask_instruction", model=ClassifyRecipe)
    assert unknown_field("mask_instruction", model=InstructRecipe).endswith("did you mean prompt.mask_instruction?")


def test_a_recipe_that_is_not_there_and_a_file_that_is(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"name one of book, gpt2-medium, gpt2-small, quickstart, smollm2, or give the path"
    ):
        loaded("sms-tiny")
    file = tmp_path / "mine.yaml"
    file.write_text("data: {source: published}\njudge:\n# model: llama3\n")
    assert loaded(str(file)).judge.model == "llama3"
    assert loaded(str(file)).registry.name == "mine"


def test_no_bundled_recipe_is_registered_by_the_name_of_a_bundled_classifier() -> None:
    names = [loaded(name).registry.name for name in BUNDLED]
    assert names == [
        "instructions-book",
        "instructions-gpt2-medium",
        "instructions-gpt2-small",
        "quickstart-instructions",
        "instructions-smollm2",
    ]
