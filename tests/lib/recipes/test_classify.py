"""The fields of a recipe: defaults, presets, limits, and what contradicts what. Reading is in test_recipe_file.py."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lib.data.samples import messages as sample
from lib.data.source.endings import FORMATS
from lib.errors import RecipeError
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.data import PRESETS
from lib.recipes.fields import recipe_fields, value_at
from lib.recipes.reading import RECIPES
from tests.support.recipes import build_recipe, load_recipe

SAMPLE = {"data": {"source": "sample"}}
BUNDLED = [
    "book",
    "decoder-small",
    "encoder",
    "gpt2-small",
    "modernbert",
    "quickstart",
    "qwen3",
    "sms-decoder",
    "sms-encoder",
    "sms-tiny",
]
BOOK = {
    "name": "book",
    "data": {
        "source": "sms-spam",
        "url": [
            "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
            "https://f001.backblazeb2.com/file/LLMs-from-scratch/sms%2Bspam%2Bcollection.zip",
        ],
        "sha256": "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
        "member": "SMSSpamCollection",
        "files": {"train": None, "validation": None, "test": None},
        "members": {"train": None, "validation": None, "test": None},
        "repository": None,
        "configuration": None,
        "revision": None,
        "splits": {"train": None, "validation": None, "test": None},
        "format": "tsv",
        "text_column": 1,
        "label_column": 0,
        "quoting": "csv",
        "encoding": None,
        "separator": None,
        "sheet": None,
        "empty_text": "error",
        "bad_rows": "error",
        "empty_label": "error",
        "labels": None,
        "rare_labels": "error",
        "rare_label_rows": None,
        "rare_label_name": "other",
    },
    "balance": {"method": "undersample", "seed": 123},
    "split": {
        "method": "published",
        "train": 0.7,
        "validation": 0.1,
        "test": 0.2,
        "seed": 123,
        "stratify": False,
        "group_duplicates": False,
        "near_duplicates": "keep",
        "column": None,
        "names": None,
    },
    "encoding": {
        "max_length": None,
        "long_texts": "cut_end",
        "head_share": 0.25,
        "overlap": None,
        "window_pooling": "mean",
        "most_windows": 32,
    },
    "model": {
        "size": "gpt2-small",
        "weights": "openai-community/gpt2",
        "revision": None,
        "dropout": 0.0,
        "seed": 123,
        "causal_mask": True,
    },
    "classifier": {"trainable": "last_block", "head": "new", "pooling": "padded_last", "padding": "longest"},
    "lora": {
        "rank": 8,
        "alpha": 8.0,
        "dropout": 0.0,
        "layers": None,
        "blocks": None,
        "keep": False,
    },
    "training": {
        "epochs": 5,
        "batch_size": 8,
        "processes": 1,
        "sharding": "none",
        "learning_rate": 5e-5,
        "weight_decay": 0.1,
        "schedule": "constant",
        "warmup_steps": 0,
        "gradient_clip": None,
        "gradient_accumulation": 1,
        "seed": 123,
        "evaluate_every": 50,
        "evaluate_batches": 5,
        "checkpoint_every": 500,
        "keep": "last",
        "patience": None,
        "precision": "float32",
        "device": "auto",
        "ignore_index": None,
        "published_figures": True,
        "feature_cache": "auto",
        "feature_dtype": "auto",
        "feature_budget": 20.0,
    },
    "evaluation": {
        "baseline": True,
        "natural_prevalence": True,
        "slices": None,
        "confidence": 0.95,
        "positive_label": None,
        "threshold": 0.5,
        "goal": "f1",
        "largest_false_positive_rate": 0.01,
        "false_positive_cost": 1.0,
        "false_negative_cost": 1.0,
        "calibrate": False,
        "folds": None,
    },
    "serving": {"engine": "torch", "precision": "float32", "largest_flip_share": 0.001},
    "published": {
        "weights": [
            "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
            "607a30d783dfa663caf39e06633721c8d4cfcd7e",
            "2060c885360cc0cf41d7a6dbc4d24b5127aae20260c8b5ae521b5a6578407118",
        ],
        "before_accuracy": [0.4625, 0.45, 0.4875],
        "before_loss": [2.453, 2.583, 2.322],
        "after_accuracy": [0.9721, 0.9732, 0.9567],
    },
    "registry": {
        "name": "book",
        "promote": "better",
        "significance": 0.05,
        "max_false_positive_increase": 0.0,
    },
    "cluster": {"kind": "local", "address": None, "workers": 1},
}


def refusal(values: dict[str, Any]) -> str:
    """The sentence with which these values are refused."""
    with pytest.raises(RecipeError) as refused:
        build_recipe(values)
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


def test_the_bundled_recipes_are_those_of_the_docs() -> None:
    assert sorted(file.stem for file in (RECIPES / "classify").glob("*.yaml")) == BUNDLED


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_recipe_loads_under_its_own_name(name: str) -> None:
    assert load_recipe(name).name == name


def test_book_is_the_published_procedure() -> None:
    assert load_recipe("book").model_dump(mode="json") == BOOK


@pytest.mark.parametrize("name", BUNDLED)
def test_a_stored_recipe_loads_as_itself(name: str) -> None:
    recipe = load_recipe(name)
    assert build_recipe(recipe.model_dump(mode="json")) == recipe


def test_the_sample_preset_is_what_the_sample_says_of_itself() -> None:
    assert PRESETS["sample"]["member"] == sample.MEMBER
    assert PRESETS["sample"]["sha256"] == sample.SHA256


def test_every_source_has_a_preset_and_every_format_an_ending() -> None:
    kinds = {field.path: field.kind for field in recipe_fields(ClassifyRecipe)}
    assert kinds["data.source"] == "sample, sms-spam, file or hub"
    assert list(PRESETS) == ["sample", "sms-spam", "file", "hub"]
    assert kinds["data.format"] == "tsv, csv, jsonl, parquet or null"
    assert set(FORMATS.values()) == {"tsv", "csv", "jsonl", "parquet"}


def test_a_source_fills_what_a_recipe_leaves_out() -> None:
    data = build_recipe({"data": {"source": "sms-spam"}}).data
    assert data.model_dump(exclude_defaults=True) == {"source": "sms-spam", **PRESETS["sms-spam"]}


def test_what_a_recipe_says_wins_over_its_source() -> None:
    data = build_recipe({"data": {"source": "sms-spam", "quoting": "csv", "url": "/a/file.zip"}}).data
    assert (data.quoting, data.url, data.member) == ("csv", "/a/file.zip", "SMSSpamCollection")


def test_null_stands_for_the_sources_own_value() -> None:
    data = build_recipe({"data": {"source": "sms-spam", "url": None, "sha256": None}}).data
    assert (data.url, data.sha256) == (PRESETS["sms-spam"]["url"], PRESETS["sms-spam"]["sha256"])


def test_a_file_needs_nothing_but_its_address() -> None:
    recipe = build_recipe({"data": {"url": "a.csv"}})
    assert recipe.data.source == "file"
    assert (recipe.data.text_column, recipe.data.label_column) == ("text", "label")
    assert recipe.training.epochs == 5


def test_a_recipe_is_registered_by_its_name_unless_it_says_otherwise() -> None:
    assert build_recipe({**SAMPLE, "name": "mine"}).registry.name == "mine"
    assert build_recipe({**SAMPLE, "name": "mine", "registry": {"promote": "never"}}).registry.name == "mine"
    assert build_recipe({**SAMPLE, "name": "mine", "registry": {"name": None}}).registry.name == "mine"
    assert build_recipe({**SAMPLE, "name": "mine", "registry": {"name": "ours"}}).registry.name == "ours"


@pytest.mark.parametrize("name", ["it's", "a/b", "models:a", 'a "b"', "a\\", "n" * 257])
def test_a_name_that_no_registered_model_can_have(name: str) -> None:
    assert refusal({**SAMPLE, "name": name}) == (
        f"the recipe: name is {name!r}, which cannot name a registered model, which has text of at most 256"
        " characters, without slashes, colons and quotes: set registry.name, or choose another name"
    )
    assert build_recipe({**SAMPLE, "name": name, "registry": {"name": "ours"}}).name == name


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_recipe_is_registered_by_its_name(name: str) -> None:
    assert load_recipe(name).registry.name == name


def test_a_recipe_cannot_be_changed() -> None:
    recipe = build_recipe(SAMPLE)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.training.epochs = 3


def test_digits_are_a_position() -> None:
    data = build_recipe({"data": {"url": "a.csv", "text_column": "1", "label_column": 0}}).data
    assert (data.text_column, data.label_column) == (1, 0)


@pytest.mark.parametrize("name", ["1.0", "-1", "٣", "9" * 5000])
def test_what_only_looks_like_a_position_is_a_name(name: str) -> None:
    assert build_recipe({"data": {"url": "a.csv", "text_column": name}}).data.text_column == name


def test_source_file_without_an_address() -> None:
    sentence = "the recipe: data.url is missing: say where the file is, or name another data.source than 'file'"
    assert refusal({}) == sentence
    assert refusal({"data": {"source": "file", "url": None}}) == sentence


@pytest.mark.parametrize(("text", "label"), [(0, "label"), ("text", 1)])
def test_one_column_by_name_and_one_by_position(text: object, label: object) -> None:
    assert refusal({"data": {"url": "a.csv", "text_column": text, "label_column": label}}) == (
        "the recipe: data.text_column and data.label_column must both be names (a file with a header row)"
        " or both positions (a file without one)"
    )


@pytest.mark.parametrize("column", [0, "text"])
def test_text_and_label_in_one_column(column: object) -> None:
    assert refusal({"data": {"url": "a.csv", "text_column": column, "label_column": column}}) == (
        "the recipe: data.text_column and data.label_column are the same column: name two"
    )


def test_fractions_must_sum_to_one() -> None:
    assert refusal({**SAMPLE, "split": {"train": 0.8}}) == (
        "the recipe: split.train + split.validation + split.test is 1.1: the three fractions must sum to 1"
    )


def test_fractions_may_miss_one_by_what_binary_arithmetic_loses() -> None:
    thirds = {"train": 0.333333333, "validation": 0.333333333, "test": 0.333333333}
    assert build_recipe({**SAMPLE, "split": thirds}).split.train == 0.333333333


def test_a_size_from_weights_needs_weights() -> None:
    assert refusal({**SAMPLE, "model": {"size": "from-weights"}}) == (
        "the recipe: model.size is 'from-weights', but model.weights is 'scratch': name a folder or a size"
    )
    assert build_recipe({**SAMPLE, "model": {"size": "from-weights", "weights": "gpt2"}}).model.weights == "gpt2"


def test_only_scratch_and_single_files_need_a_size() -> None:
    def size(**model: str) -> str:
        return build_recipe({**SAMPLE, "model": model}).model.size

    assert size() == size(weights="scratch") == size(weights="a/model.safetensors") == "tiny"
    assert size(weights="owner/name") == size(weights="a-folder") == size(weights="openai:355M") == "from-weights"
    assert size(weights="owner/name", size="gpt2-small") == "gpt2-small"  # which is checked


def test_other_weights_set_the_size_and_the_revision_of_a_recipe_aside() -> None:
    def model(recipe: str, **overrides: str) -> tuple[str, str | None]:
        chosen = load_recipe(recipe, {f"model.{name}": value for name, value in overrides.items()}).model
        return chosen.size, chosen.revision

    assert model("quickstart") == ("tiny", None)
    assert model("quickstart", weights="owner/name") == ("from-weights", None)
    assert model("quickstart", weights="owner/name", revision="v1") == ("from-weights", "v1")
    assert model("book", weights="owner/name", size="gpt2-small") == ("gpt2-small", None)
    assert model("book", weights="scratch") == ("gpt2-small", None)
    own = {**SAMPLE, "model": {"weights": "owner/name", "revision": "v1"}}
    assert build_recipe(own, {"model.weights": "owner/other"}).model.revision is None


LIMITS = [
    ("split.train", 0, "a number above 0 and below 1"),
    ("split.test", 1, "a number above 0 and below 1"),
    ("split.seed", -1, "a whole number of at least 0 and below 4294967296"),
    ("model.seed", 2**32, "a whole number of at least 0 and below 4294967296"),
    ("encoding.max_length", 0, "a whole number of at least 1 or null"),
    ("model.dropout", 1, "a number of at least 0 and below 1"),
    ("model.dropout", -0.1, "a number of at least 0 and below 1"),
    ("classifier.padding", 0, "batch, longest, context or a whole number of at least 1"),
    ("training.epochs", 0, "a whole number of at least 1"),
    ("training.batch_size", 0, "a whole number of at least 1"),
    ("training.learning_rate", 0, "a number above 0"),
    ("training.learning_rate", float("inf"), "a number above 0"),
    ("training.weight_decay", -0.1, "a number of at least 0"),
    ("training.weight_decay", float("nan"), "a number of at least 0"),
    ("training.warmup_steps", -1, "a whole number of at least 0"),
    ("training.gradient_clip", 0, "a number above 0 or null"),
    ("training.gradient_accumulation", 0, "a whole number of at least 1"),
    ("training.evaluate_every", 0, "a whole number of at least 1"),
    ("training.evaluate_batches", 0, "a whole number of at least 1 or null"),
    ("training.checkpoint_every", 0, "a whole number of at least 1"),
    ("training.patience", 0, "a whole number of at least 1 or null"),
    ("evaluation.confidence", 1, "a number above 0 and below 1"),
    ("evaluation.threshold", 1, "auto or a number above 0 and below 1"),
    ("evaluation.threshold", "best", "auto or a number above 0 and below 1"),
    ("evaluation.largest_false_positive_rate", 1, "a number of at least 0 and below 1"),
    ("evaluation.false_negative_cost", 0, "a number above 0"),
    ("data.text_column", -1, "text or a whole number of at least 0"),
    ("data.url", [], "text (not empty), a list of texts or null"),
    ("data.url", "", "text (not empty), a list of texts or null"),
    ("data.member", "", "text (not empty) or null"),
    ("model.weights", "", "text (not empty)"),
    ("lora.rank", 0, "a whole number of at least 1"),
    ("lora.alpha", 0, "a number above 0"),
    ("lora.blocks", 0, "a whole number of at least 1 or null"),
    ("lora.layers", [], "a list of texts or null"),
    ("published.weights", [], "a list of texts or null"),
    ("published.after_accuracy", [0.9, 0.9], "a list of 3, each a number of at least 0 and of at most 1 or null"),
    ("published.after_accuracy", [97, 97, 95], "a list of 3, each a number of at least 0 and of at most 1 or null"),
    ("registry.name", "", "text of at most 256 characters, without slashes, colons and quotes"),
    ("registry.name", "a/b", "text of at most 256 characters, without slashes, colons and quotes"),
    ("registry.name", "models:a", "text of at most 256 characters, without slashes, colons and quotes"),
    ("registry.name", "it's", "text of at most 256 characters, without slashes, colons and quotes"),
    ("registry.name", 'a "b"', "text of at most 256 characters, without slashes, colons and quotes"),
    ("registry.name", "a\\", "text of at most 256 characters, without slashes, colons and quotes"),
    ("data.sha256", "abc", "64 digits from 0-9 and a-f or null"),
    ("data.sha256", "A" * 64, "64 digits from 0-9 and a-f or null"),
]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"goal": "cost"},
            "evaluation.goal is 'cost', but evaluation.threshold 0.5 leaves nothing to choose: set evaluation.threshold"
            " to 'auto', or leave evaluation.goal out",
        ),
        (
            {"threshold": "auto", "false_negative_cost": 5},
            "evaluation.false_negative_cost is 5, which only evaluation.goal 'cost' reads, and that is 'f1': change it,"
            " or leave evaluation.false_negative_cost out",
        ),
        (
            {"threshold": "auto", "goal": "cost", "largest_false_positive_rate": 0.1},
            "evaluation.largest_false_positive_rate is 0.1, which only evaluation.goal 'false_positive_rate' reads, and"
            " that is 'cost': change it, or leave evaluation.largest_false_positive_rate out",
        ),
    ],
)
def test_a_goal_has_a_threshold_to_choose_and_its_own_fields(fields: dict[str, Any], sentence: str) -> None:
    assert refusal({**SAMPLE, "evaluation": fields}) == f"the recipe: {sentence}"


def test_each_goal_goes_with_its_fields() -> None:
    strict = {"threshold": "auto", "goal": "false_positive_rate", "largest_false_positive_rate": 0}
    assert build_recipe({**SAMPLE, "evaluation": strict}).evaluation.largest_false_positive_rate == 0
    costly = {"threshold": "auto", "goal": "cost", "false_positive_cost": 2, "false_negative_cost": 5}
    assert build_recipe({**SAMPLE, "evaluation": costly}).evaluation.false_negative_cost == 5
    assert build_recipe({**SAMPLE, "evaluation": {"threshold": 0.9, "calibrate": True}}).evaluation.threshold == 0.9


def test_parts_of_a_model_need_several_processes_and_texts_in_one_row() -> None:
    assert refusal({**SAMPLE, "training": {"sharding": "full"}}) == (
        "the recipe: training.sharding is 'full', and training.processes is 1, which would have all of the model: raise"
        " that, or set training.sharding to none"
    )
    parts = {**SAMPLE, "training": {"sharding": "full", "processes": 2}}
    build_recipe(parts)
    assert refusal({**parts, "encoding": {"long_texts": "windows"}}) == (
        "the recipe: encoding.long_texts is 'windows', of which each process computes as many as its texts have, and"
        " with training.sharding 'full' all must compute equally many: set one of them to another value"
    )


def test_published_figures_need_published_batches() -> None:
    build_recipe({**SAMPLE, "training": {"published_figures": True}, "classifier": {"padding": "longest"}})
    assert refusal({**SAMPLE, "training": {"published_figures": True}}) == (
        "the recipe: training.published_figures is true, and with classifier.padding 'batch' the batches are not the"
        " published ones: choose padding 'longest', or leave those figures out"
    )


def test_an_evaluation_of_a_few_batches_does_not_look_at_the_beginning_of_a_file() -> None:
    hashed = {**SAMPLE, "split": {"method": "hashed"}}
    few = {"training": {"evaluate_batches": 5}}
    build_recipe({**hashed, **few})
    build_recipe({**SAMPLE, **few, "classifier": {"padding": "longest"}})
    build_recipe({**hashed, "training": {"evaluate_batches": None}, "classifier": {"padding": "longest"}})
    assert refusal({**hashed, **few, "classifier": {"padding": "longest"}}) == (
        "the recipe: split.method hashed keeps the order of the file, which may be that of the labels, and with"
        " classifier.padding 'longest' an evaluation while training looks at the first 5 batches"
        " (training.evaluate_batches): choose padding 'batch', evaluate_batches null, or split.method published"
    )


def test_features_cannot_be_kept_where_adapters_are_in_every_block() -> None:
    values = {**SAMPLE, "training": {"feature_cache": "on"}, "classifier": {"trainable": "lora"}}
    build_recipe({**values, "lora": {"blocks": 2}})
    assert "with lora.blocks None there is nothing" in refusal(values)


@pytest.mark.parametrize(("path", "value", "wanted"), LIMITS)
def test_a_value_beyond_its_limits(path: str, value: Any, wanted: str) -> None:
    section, _, name = path.partition(".")
    sentence = refusal({**SAMPLE, section: {**SAMPLE.get(section, {}), name: value}})
    assert sentence.startswith(f"the recipe: {path} is ")
    assert sentence.endswith(f", but must be {wanted}")


@pytest.mark.parametrize("value", [1, 2**32 - 1, "5", 5.0])
def test_a_value_within_its_limits(value: Any) -> None:
    assert build_recipe({**SAMPLE, "training": {"seed": value}}).training.seed == int(value)


WRONG_TYPES = [
    ({"training": {"epochs": "many"}}, "training.epochs is 'many', but must be a whole number of at least 1"),
    ({"training": {"epochs": 2.5}}, "training.epochs is 2.5, but must be a whole number of at least 1"),
    ({"training": {"epochs": True}}, "training.epochs is true, but must be a whole number of at least 1"),
    ({"training": {"epochs": None}}, "training.epochs is null, but must be a whole number of at least 1"),
    ({"training": {"epochs": [3]}}, "training.epochs is [3], but must be a whole number of at least 1"),
    ({"training": {"learning_rate": "fast"}}, "training.learning_rate is 'fast', but must be a number above 0"),
    ({"training": {"keep": "worst"}}, "training.keep is 'worst', but must be last or best"),
    ({"split": {"stratify": "maybe"}}, "split.stratify is 'maybe', but must be true or false"),
    (
        {"classifier": {"padding": "wide"}},
        "classifier.padding is 'wide', but must be batch, longest, context or a whole number of at least 1",
    ),
    ({"name": 2024}, "name is 2024, but must be text (not empty)"),
    ({"training": 5}, "training is 5, but must be a group of fields"),
    ({"training": ["epochs"]}, "training is ['epochs'], but must be a group of fields"),
]


@pytest.mark.parametrize(("values", "sentence"), WRONG_TYPES)
def test_a_value_of_the_wrong_type(values: dict[str, Any], sentence: str) -> None:
    assert refusal({**SAMPLE, **values}) == f"the recipe: {sentence}"


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({"source": "nowhere"}, "data.source is 'nowhere', but must be sample, sms-spam, file or hub"),
        ({"source": ["sample"]}, "data.source is ['sample'], but must be sample, sms-spam, file or hub"),
        ({"url": [1, 2]}, "data.url is [1, 2], but must be text (not empty), a list of texts or null"),
        (5, "data is 5, but must be a group of fields"),
    ],
)
def test_a_source_of_the_wrong_type(data: Any, wanted: str) -> None:
    assert refusal({"data": data}) == f"the recipe: {wanted}"


def test_adapters_that_nobody_trains_are_refused() -> None:
    values = {"data": {"source": "sample"}, "lora": {"rank": 16}}
    assert "lora describes adapters, but classifier.trainable is 'all'" in refusal(values)
    assert build_recipe({**values, "classifier": {"trainable": "lora"}}).lora.rank == 16


@pytest.mark.parametrize(
    ("serving", "sentence"),
    [
        (
            {"engine": "torch", "precision": "int8"},
            "serving: serving.precision is 'int8', which serving.engine 'torch' does not have: choose engine"
            " 'onnxruntime', or precision auto, float32 or bfloat16",
        ),
        (
            {"engine": "onnxruntime", "precision": "bfloat16"},
            "serving: serving.precision is 'bfloat16', which serving.engine 'onnxruntime' does not have: choose engine"
            " 'torch', or precision auto, float32 or int8",
        ),
        (
            {"engine": "torch", "precision": "float32", "largest_flip_share": 0.01},
            "serving: serving.largest_flip_share is 0.01, but engine 'torch' with precision 'float32' leaves nothing to"
            " choose: set one of them to 'auto', or leave that field out",
        ),
    ],
)
def test_an_engine_that_cannot_be_as_it_is_named_is_refused(serving: dict[str, Any], sentence: str) -> None:
    assert refusal({**SAMPLE, "serving": serving}).removeprefix("the recipe: ") in (
        sentence,
        sentence.removeprefix("serving: "),
    )


@pytest.mark.parametrize(("field", "value"), [("engine", "onnxruntime"), ("precision", "int8")])
def test_padding_that_is_text_is_torchs(field: str, value: str) -> None:
    padded = {**SAMPLE, "classifier": {"pooling": "padded_last", "padding": "longest"}}
    assert build_recipe(padded).serving.engine == "auto"
    assert refusal({**padded, "serving": {field: value}}) == (
        f"the recipe: serving.{field} is {value!r}, but with classifier.pooling 'padded_last' answers depend on how"
        " texts are padded, which only torch computes here: choose pooling 'last_token', or engine 'torch'"
    )


@pytest.mark.parametrize(
    ("serving", "named"),
    [
        ({}, False),
        ({"engine": "torch"}, False),
        ({"precision": "float32"}, False),
        ({"precision": "int8"}, False),
        ({"engine": "onnxruntime", "precision": "int8"}, False),
        ({"precision": "bfloat16"}, True),
        ({"engine": "torch", "precision": "float32"}, True),
        ({"engine": "onnxruntime", "precision": "float32"}, True),
    ],
)
def test_nothing_is_measured_where_all_is_named(serving: dict[str, Any], named: bool) -> None:
    assert build_recipe({**SAMPLE, "serving": serving}).serving.is_named is named


def test_a_gate_that_nobody_passes_is_refused() -> None:
    never = {"data": {"source": "sample"}, "registry": {"promote": "never"}}
    assert build_recipe(never).registry.promote == "never"
    assert "registry.significance is 0.01, but registry.promote is 'never', which compares nothing" in refusal(
        {**never, "registry": {"promote": "never", "significance": 0.01}}
    )


def test_every_field_has_a_description_and_a_default_that_it_accepts() -> None:
    recipe = build_recipe({"data": {"url": "a.csv"}}).model_dump()
    for field in recipe_fields(ClassifyRecipe):
        value = value_at(recipe, field.path)
        assert field.description, field.path
        assert value == field.default or field.path in ("data.url", "registry.name")


def test_prefects_form_can_be_built_from_the_recipe() -> None:
    schema = ClassifyRecipe.model_json_schema()
    assert schema["required"] == ["data"]
    assert schema["$defs"]["Training"]["properties"]["epochs"]["description"] == "passes over the training split"


@pytest.mark.parametrize(
    ("encoding", "sentence"),
    [
        (
            {"overlap": 8},
            "encoding.overlap is 8, which only encoding.long_texts 'windows' reads, and that is 'cut_end': change it,"
            " or leave encoding.overlap out",
        ),
        (
            {"long_texts": "windows", "head_share": 0.5},
            "encoding.head_share is 0.5, which only encoding.long_texts 'head_and_tail' reads, and that is 'windows':"
            " change it, or leave encoding.head_share out",
        ),
        (
            {"long_texts": "head_and_tail", "window_pooling": "max"},
            "encoding.window_pooling is 'max', which only encoding.long_texts 'windows' reads, and that is"
            " 'head_and_tail': change it, or leave encoding.window_pooling out",
        ),
        (
            {"long_texts": "windows", "max_length": 8, "overlap": 8},
            "encoding.overlap is 8, and windows of encoding.max_length 8 tokens would never reach the end of a text:"
            " choose less, or leave it out",
        ),
    ],
)
def test_long_texts_are_read_in_one_way(encoding: dict[str, Any], sentence: str) -> None:
    assert refusal({**SAMPLE, "encoding": encoding}) == f"the recipe: {sentence}"


@pytest.mark.parametrize("padding", ["longest", "context", 64])
def test_windows_are_padded_in_batches(padding: Any) -> None:
    windows = {**SAMPLE, "encoding": {"long_texts": "windows"}}
    build_recipe(windows)
    assert refusal({**windows, "classifier": {"padding": padding}}) == (
        f"the recipe: encoding.long_texts is 'windows', but classifier.padding {padding!r} is of the published"
        " procedure, which has none: choose padding 'batch', or long_texts 'head_and_tail'"
    )


@pytest.mark.parametrize(
    ("cluster", "sentence"),
    [
        (
            {"address": "10.0.0.5:6379"},
            "cluster.address names a Ray cluster, but cluster.kind is 'local': set it to 'ray', or leave the address"
            " out",
        ),
        (
            {"kind": "ray", "address": "http://10.0.0.5"},
            "cluster.address is 'http://10.0.0.5': write host:port, as in 10.0.0.5:6379, or ray://host:port",
        ),
        ({"workers": 0}, "cluster.workers is 0, but must be a whole number of at least 1"),
    ],
)
def test_a_cluster_that_contradicts_itself(cluster: object, sentence: str) -> None:
    assert refusal({**SAMPLE, "cluster": cluster}).endswith(sentence)


def test_a_cluster_is_this_process_unless_it_is_said() -> None:
    cluster = build_recipe(SAMPLE).cluster
    assert (cluster.kind, cluster.address, cluster.workers) == ("local", None, 1)
    for address in ("10.0.0.5:6379", "head.example.org:6379", "ray://[::1]:10001"):
        assert build_recipe({**SAMPLE, "cluster": {"kind": "ray", "address": address}}).cluster.address == address
