"""The forms of Prefect's page: a handful of fields with the recipe's limits and words, and a text for all others."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from flows.run.form import Changes, form_of_recipe, form_of_scoring
from lib.errors import RecipeError
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.fields import recipe_fields
from lib.recipes.instruct import InstructRecipe
from lib.recipes.scoring import ScoringJob
from tests.support.recipes import load_recipe

FORM = form_of_recipe(ClassifyRecipe, "classify")
OFFERED = ["url", "text_column", "label_column", "epochs", "learning_rate", "registered_name", "overrides"]


def filled(**values: Any) -> Changes:
    return FORM.model_validate(values)


def schema_of(form: Any) -> dict[str, Any]:
    properties: dict[str, Any] = form.model_json_schema()["properties"]
    return properties


def test_the_form_has_what_people_change_and_a_text() -> None:
    assert list(schema_of(FORM)) == OFFERED
    instruct = schema_of(form_of_recipe(InstructRecipe, "instruct"))
    assert list(instruct) == ["url", "epochs", "learning_rate", "judge", "registered_name", "overrides"]
    assert instruct["judge"]["enum"] == ["off", "ollama", "openai"]
    scoring = schema_of(form_of_scoring())
    assert list(scoring) == ["name", "run", "format", "text_column", "id_column", "overrides"]
    assert scoring["format"]["enum"] == ["tsv", "csv", "jsonl", "parquet"]
    assert "(left out: the one registered last)" in scoring["name"]["description"]


@pytest.mark.parametrize(
    ("address", "kept_out"),
    [
        ("https://me:secret@example.org/x.csv", True),
        ("https://ghp_0123@example.org/x.csv", True),
        ("https://example.org/x.csv?sv=1&sig=ab", True),
        ("https://example.org/x.csv?X-Amz-Signature=ab", True),
        ("https://example.org/x.csv?access_token=ab", True),
        ("https://me:${PASSWORD}@example.org/x.csv?token=${TOKEN}", False),
        ("https://example.org/a@b/x.csv?id=3", False),
        ("/data/x.csv", False),
    ],
)
def test_secrets_stay_out_of_prefect(address: str, kept_out: bool) -> None:
    """Its server checks a pattern before it keeps a run; what comes in another way ends the run."""
    assert (re.search(schema_of(FORM)["url"]["pattern"], address) is None) == kept_out
    for form in (filled(url=address), filled(overrides=f"data:\n  files: ['{address}']")):
        if kept_out:
            with pytest.raises(RecipeError, match=r"^data\.\w+ has a secret, which Prefect has kept") as refused:
                form.fields()
            assert address not in str(refused.value)
        else:
            assert form.fields()["data.source" if "data.url" in form.fields() else "data.files"]


def test_every_field_is_one_control_without_a_default() -> None:
    """Of a default the page would make a value that the recipe's own does not stand against."""
    for form in (FORM, form_of_recipe(InstructRecipe, "instruct"), form_of_scoring()):
        for name, field in schema_of(form).items():
            assert field["type"] in ("string", "integer", "number"), name
            assert "default" not in field, name


def test_a_field_says_what_it_is_and_what_each_recipe_has() -> None:
    schema = schema_of(FORM)
    assert {key: schema["epochs"][key] for key in ("type", "minimum", "description")} == {
        "type": "integer",
        "minimum": 1,
        "description": "passes over the training split; recipes have: book 5, decoder-small 4, encoder 6, gpt2-small 3,"
        " modernbert 4, quickstart 6, qwen3 4, sms-decoder 4, sms-encoder 6, sms-tiny 4",
    }
    assert schema["url"]["description"].endswith(
        "book sms-spam, decoder-small sample, encoder sample, gpt2-small sms-spam, modernbert sample,"
        " quickstart sample, qwen3 sample, sms-decoder sms-spam, sms-encoder sms-spam, sms-tiny sms-spam"
    )
    assert schema["registered_name"]["description"] == "the registered model's name (left out: the recipe's name)"


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": 0},
        {"epoch": 1},
        {"learning_rate": float("nan")},
        {"registered_name": "a/b"},
        {"url": ""},
        {"lora": {}},
    ],
)
def test_what_is_wrong_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FORM.model_validate(given)


def test_only_what_was_given_comes_out() -> None:
    form = FORM.model_validate({"epochs": 3, "learning_rate": None, "overrides": None})
    assert form.model_dump() == {"epochs": 3}
    assert form.fields() == {"training.epochs": 3}
    assert filled().fields() == filled(overrides="\n# nothing\n").fields() == {}


def test_merged_into_a_recipe_they_are_its_fields() -> None:
    form = filled(
        url="/a.csv",
        text_column="1",
        label_column="0",
        epochs=3,
        learning_rate=1e-05,
        registered_name="mine",
        overrides="encoding.max_length: 40\ntraining:\n  patience: null\n  gradient_clip: 2\n\ndata: {member: a.csv}\n",
    )
    recipe = load_recipe("quickstart", form.fields())
    assert (recipe.data.source, recipe.data.url, recipe.data.member) == ("file", "/a.csv", "a.csv")
    assert (recipe.data.text_column, recipe.data.label_column, recipe.data.sha256) == (1, 0, None)
    assert (recipe.training.epochs, recipe.training.learning_rate, recipe.registry.name) == (3, 1e-05, "mine")
    assert (recipe.encoding.max_length, recipe.training.patience, recipe.training.gradient_clip) == (40, None, 2)
    assert recipe.split == load_recipe("quickstart").split


@pytest.mark.parametrize(
    "overrides",
    [
        "data.source: file\ndata.files.train: a.csv\ndata.files.test: [b.csv]\n",
        "data:\n  source: file\n  files:\n    train: a.csv\n    test: [b.csv]\n",
        "data.source: file\ndata.files: {train: a.csv, test: [b.csv]}\n",
    ],
)
def test_given_splits_are_said_in_the_text(overrides: str) -> None:
    form = filled(overrides=overrides)
    assert re.search(schema_of(FORM)["overrides"]["pattern"], overrides)
    files = load_recipe("quickstart", form.fields()).data.files
    assert files.given() == {"train": ("a.csv",), "test": ("b.csv",)}


def test_a_source_that_is_said_stands_against_that_of_an_address() -> None:
    form = filled(url="https://mirror/sms.zip", overrides="data.source: sms-spam")
    data = load_recipe("quickstart", form.fields()).data
    assert (data.source, data.url, data.member) == ("sms-spam", "https://mirror/sms.zip", "SMSSpamCollection")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ("training.epoch: 3", "there is no flag --training.epoch: did you mean --training.epochs?"),
        ("training: {patience: 0}", "--training.patience is 0, but must be a whole number of at least 1 or null"),
        ("training: fast", "--training is a group of fields: name one of them, such as --training.epochs"),
        ("training: [a", "overrides, line 1 is not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("training.epochs: 4", "epochs and overrides both set training.epochs: leave one of them out"),
        ("hello", "overrides holds 'hello', but must hold groups of fields, such as 'training:'"),
    ],
)
def test_a_wrong_text_is_told_in_one_sentence(overrides: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe("quickstart", filled(epochs=3, overrides=overrides).fields())
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("overrides", "fits"),
    [
        ("", True),
        ("training:\n  patience: 3\r\n\r\nname: mine\n", True),
        ("# why\ntraining.patience : 3 # three\n\tx\n", True),
        ("trainig:\n  patience: 3", False),
        ("training:\n  patience: 3\npatience: 3", False),
        ("--training.patience 3", False),
        ("training.patience=3", False),
        ("training.patience 3" + " " * 10_000, False),
    ],
)
def test_prefect_checks_that_each_line_begins_with_a_field_or_a_group(overrides: str, fits: bool) -> None:
    assert (re.search(schema_of(FORM)["overrides"]["pattern"], overrides) is not None) is fits


def test_every_field_of_a_recipe_and_of_a_job_can_be_in_the_text() -> None:
    recipes = {
        ClassifyRecipe: FORM,
        InstructRecipe: form_of_recipe(InstructRecipe, "instruct"),
        ScoringJob: form_of_scoring(),
    }
    for recipe, form in recipes.items():
        pattern = schema_of(form)["overrides"]["pattern"]
        for field in recipe_fields(recipe):
            if field.path not in ("inputs", "output"):
                assert re.search(pattern, f"{field.path}: 1"), field.path
