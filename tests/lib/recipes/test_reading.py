"""Recipes read from files and overridden on a command line, and the sentences about wrong and unknown fields."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lib.errors import RecipeError
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.data import names_of_labels
from lib.recipes.fields import recipe_fields
from lib.recipes.mistakes import unknown_field, unknown_recipe
from lib.secrets import Address
from tests.support.recipes import build_recipe, load_recipe

SAMPLE = {"data": {"source": "sample"}}


def refusal(values: dict[Any, Any], overrides: dict[str, str] | None = None) -> str:
    with pytest.raises(RecipeError) as refused:
        build_recipe(values, overrides, origin="recipe mine")
    assert "\n" not in str(refused.value)
    return str(refused.value)


def refusal_of_file(name: str | Path, overrides: dict[str, str] | None = None) -> str:
    with pytest.raises(RecipeError) as refused:
        load_recipe(str(name), overrides)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "mine.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


# -- overrides --------------------------------------------------------------------------------------------------

OVERRIDES = [
    ("training.epochs", "3", 3),
    ("training.learning_rate", "5e-5", 5e-5),
    ("training.evaluate_batches", "null", None),
    ("encoding.max_length", "120", 120),
    ("split.stratify", "false", False),
    ("classifier.padding", "64", 64),
    ("classifier.padding", "longest", "longest"),
    ("registry.name", "123", "123"),
    ("name", "[draft]", "[draft]"),
    ("name", "a = b, {c}", "a = b, {c}"),
    ("registry.name", "null", "custom"),
    ("data.url", "texts.csv", Address("texts.csv")),
    ("data.url", "[a.csv, https://example.org/a.csv]", ("a.csv", "https://example.org/a.csv")),
    ("data.url", "[old].csv", Address("[old].csv")),
    ("data.member", "[a]", "[a]"),
]


@pytest.mark.parametrize(("path", "text", "value"), OVERRIDES)
def test_an_override_is_read_by_its_fields_type(path: str, text: str, value: object) -> None:
    recipe: Any = build_recipe(SAMPLE, {path: text})
    for name in path.split("."):
        recipe = getattr(recipe, name)
    assert recipe == value
    assert type(recipe) is type(value)


def test_digits_name_columns_by_position() -> None:
    overrides = {"data.source": "file", "data.url": "a.tsv", "data.text_column": "1", "data.label_column": "0"}
    data = build_recipe({}, overrides).data
    assert (data.text_column, data.label_column) == (1, 0)


def test_an_override_wins_over_the_file_and_the_file_over_the_source() -> None:
    values = {"data": {"source": "sms-spam", "quoting": "csv", "member": "other"}}
    data = build_recipe(values, {"data.quoting": "none"}).data
    assert (data.quoting, data.member, data.format) == ("none", "other", "tsv")


def test_an_overridden_source_brings_its_own_preset() -> None:
    data = load_recipe("sms-tiny", {"data.source": "sample"}).data
    assert (data.member, data.url) == ("SMSSpamSample", None)


def test_overrides_leave_the_given_values_alone() -> None:
    values: dict[str, Any] = {"data": {"source": "sample"}, "training": {"epochs": 3}}
    build_recipe(values, {"training.epochs": "9"})
    assert values["training"] == {"epochs": 3}


def test_a_wrong_override_is_named_as_it_was_typed() -> None:
    assert refusal(SAMPLE, {"training.epochs": "many"}) == (
        "--training.epochs is 'many', but must be a whole number of at least 1"
    )
    assert refusal(SAMPLE, {"data.url": "[1, 2]"}) == (
        "--data.url is [1, 2], but must be text (not empty), a list of texts or null"
    )


def test_a_list_is_typed_in_brackets() -> None:
    overrides = {"lora.layers": "[attention.qkv, mlp.expansion]", "published.after_accuracy": "[0.9, 0.8, 1]"}
    overrides["classifier.trainable"] = "lora"
    recipe = build_recipe(SAMPLE, overrides)
    assert recipe.lora.layers == ("attention.qkv", "mlp.expansion")
    assert recipe.published.after_accuracy == (0.9, 0.8, 1.0)


def test_an_override_that_contradicts_the_recipe() -> None:
    assert refusal(SAMPLE, {"split.train": "0.9"}) == (
        "recipe mine: split.train + split.validation + split.test is 1.2: the three fractions must sum to 1"
    )


def test_an_override_of_what_the_file_has_no_section_for() -> None:
    assert refusal({**SAMPLE, "training": 5}, {"training.epochs": "3"}) == (
        "recipe mine: training is 5, but must be a group of fields"
    )


# -- unknown fields ---------------------------------------------------------------------------------------------

UNKNOWN = [
    ("training.epohcs", "did you mean training.epochs?"),
    ("trainig.epochs", "did you mean training.epochs?"),
    ("epochs", "did you mean training.epochs?"),
    ("classifier.learning_rate", "did you mean training.learning_rate?"),
    ("learningrate", "did you mean training.learning_rate?"),
    ("trainig", "did you mean training?"),
    ("split.sed", "did you mean split.seed?"),
    ("seed", "did you mean balance.seed, split.seed, model.seed or training.seed?"),
    ("zzzz", "--help lists all of them"),
    ("", "--help lists all of them"),
]


@pytest.mark.parametrize(("path", "hint"), UNKNOWN)
def test_an_unknown_field_and_the_nearest_there_is(path: str, hint: str) -> None:
    assert unknown_field(path, model=ClassifyRecipe) == f"there is no field {path}: {hint}"


@pytest.mark.parametrize(("path", "hint"), UNKNOWN)
def test_an_unknown_flag_and_the_nearest_there_is(path: str, hint: str) -> None:
    near = hint.removeprefix("did you mean ").replace(", ", ", --").replace(" or ", " or --")
    wanted = f"did you mean --{near}" if near != hint else hint
    assert unknown_field(path, flag=True, model=ClassifyRecipe) == f"there is no flag --{path}: {wanted}"


def test_a_whole_section_is_no_flag() -> None:
    assert refusal(SAMPLE, {"training": "fast"}) == (
        "--training is a group of fields: name one of them, such as --training.epochs"
    )


def test_an_unknown_field_in_a_recipe() -> None:
    assert refusal({**SAMPLE, "training": {"epohcs": 3}}) == (
        "recipe mine: there is no field training.epohcs: did you mean training.epochs?"
    )


def test_a_misspelt_section_in_a_recipe() -> None:
    assert refusal({**SAMPLE, "trainig": {"epochs": 3}}) == (
        "recipe mine: there is no field trainig: did you mean training?"
    )


def test_names_that_are_not_text() -> None:
    assert refusal({**SAMPLE, True: 3}) == "recipe mine: there is no field True: --help lists all of them"
    assert "there is no field training.1" in refusal({**SAMPLE, "training": {1: 2}})


def test_several_findings_make_one_sentence() -> None:
    values = {**SAMPLE, "training": {"epochs": 0, "epohcs": 3}, "split": {"train": 0.9}}
    assert refusal(values, {"training.keep": "worst"}) == (
        "recipe mine: split.train + split.validation + split.test is 1.2: the three fractions must sum to 1;"
        " training.epochs is 0, but must be a whole number of at least 1;"
        " --training.keep is 'worst', but must be last or best;"
        " there is no field training.epohcs: did you mean training.epochs?"
    )


def test_very_many_findings_are_counted() -> None:
    sentence = refusal({**SAMPLE, **{f"unknown{number}": 1 for number in range(1000)}})
    assert sentence.endswith("; and 995 more")
    assert len(sentence) < 500


@pytest.mark.parametrize(
    ("values", "overrides"),
    [
        ({"training": {"epochs": "x" * 10_000}}, None),
        ({"training": {"epochs": list(range(10_000))}}, None),
        ({"training": "x" * 10_000}, None),
        ({"x" * 10_000: 3}, None),
        ({}, {"training.epochs": "9" * 10_000}),
        ({}, {"x" * 10_000: "3"}),
    ],
)
def test_long_input_is_shortened(values: dict[str, Any], overrides: dict[str, str] | None) -> None:
    sentence = refusal({**SAMPLE, **values}, overrides)
    assert "…" in sentence
    assert len(sentence) < len(refusal_of_file("x")) + 60  # of the name, no more is shown


# -- files ------------------------------------------------------------------------------------------------------


def test_a_file_is_found_by_its_path(tmp_path: Path) -> None:
    file = written(tmp_path, "name: mine\ndata:\n  source: sample\ntraining:\n  learning_rate: 1e-3\n")
    recipe = load_recipe(str(file), {"training.epochs": "2"})
    assert (recipe.name, recipe.training.learning_rate, recipe.training.epochs) == ("mine", 1e-3, 2)


@pytest.mark.parametrize("name", ["# no name\n", "name: reviews\n"])
def test_a_file_without_a_name_is_called_after_itself(tmp_path: Path, name: str) -> None:
    file = tmp_path / "reviews.yaml"
    file.write_text(f"{name}data: {{source: sample}}\n")
    recipe = load_recipe(str(file))
    assert (recipe.name, recipe.registry.name) == ("reviews", "reviews")
    assert load_recipe(str(file), {"name": "other"}).registry.name == "other"


def test_a_file_whose_own_name_cannot_be_registered(tmp_path: Path) -> None:
    file = tmp_path / "it's.yaml"
    file.write_text("data: {source: sample}\n")
    assert 'name is "it\'s", which cannot name a registered model' in refusal_of_file(file)
    assert load_recipe(str(file), {"registry.name": "ours"}).registry.name == "ours"


def test_a_bundled_name_wins_over_a_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "book").write_text("name: mine")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("book").name == "book"


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert load_recipe(str(written(tmp_path, b"\xef\xbb\xbfname: mine\ndata: {source: sample}\n"))).name == "mine"


def test_a_section_whose_lines_are_commented_out(tmp_path: Path) -> None:
    file = written(tmp_path, "data:\n  source: sample\ntraining:\n#  epochs: 3\n")
    assert load_recipe(str(file)).training.epochs == 5
    assert load_recipe(str(file), {"training.epochs": "4"}).training.epochs == 4


def test_an_empty_file_says_what_is_missing(tmp_path: Path) -> None:
    file = written(tmp_path, "# nothing yet\n")
    assert refusal_of_file(file).startswith(f"{file}: data.url is missing: ")


def test_an_error_names_the_recipe_or_the_file(tmp_path: Path) -> None:
    assert refusal_of_file("quickstart", {"split.train": "0.9"}).startswith("recipe quickstart: split.train + ")
    file = written(tmp_path, "data: {source: sample}\ntraining: {epochs: 0}\n")
    assert refusal_of_file(file) == f"{file}: training.epochs is 0, but must be a whole number of at least 1"


@pytest.mark.parametrize("name", ["nope", "lib", "", "~nobody-here/a", "a\0b"])
def test_a_recipe_that_is_not_there(name: str) -> None:
    assert refusal_of_file(name) == (
        f"there is no recipe {name!r}: name one of book, decoder-small, encoder, gpt2-small, modernbert,"
        " quickstart, qwen3, sms-decoder, sms-encoder, sms-tiny, or give the path of"
        " a YAML file"
    )


@pytest.mark.parametrize(("name", "meant"), [("gpt2_small", "gpt2-small"), ("quickstrat", "quickstart")])
def test_a_recipe_with_a_slip_in_its_name(name: str, meant: str) -> None:
    assert refusal_of_file(name) == f"there is no recipe {name!r}: did you mean {meant}?"


def test_at_most_ten_recipes_are_named() -> None:
    known = [f"recipe-{number:02}" for number in range(30)]
    assert unknown_recipe("mine", known).endswith("recipe-08, recipe-09 and 20 more, or give the path of a YAML file")


def test_a_name_longer_than_a_name_can_be() -> None:
    sentence = refusal_of_file("x" * 5000)
    assert sentence.startswith("there is no recipe 'xxx")
    assert len(sentence) < len(refusal_of_file("x")) + 60  # of the name, no more is shown


def test_a_file_that_cannot_be_read() -> None:
    file = Path("/proc/self/mem")  # a file that refuses reading even to root
    if not file.is_file():
        pytest.skip("this system has no /proc/self/mem")
    assert refusal_of_file(file) == (
        f"{file} cannot be read (Input/output error): give another file, or allow reading it"
    )


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    file = written(tmp_path, b"name: caf\xe9\n")
    assert refusal_of_file(file) == f"{file} is not UTF-8 text: byte 9 (counted from 0) is not; save it as UTF-8"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("name: a: b\n", 1, "mapping values are not allowed here"),
        ("name: mine\ndata: [1, 2\n", 3, "expected ',' or ']', but got '<stream end>'"),
        ("name: mine\ndata: !!python/object:os.system x\n", 2, "could not determine a constructor for the tag"),
        ("training:\n  epochs: 3\n  epochs: 4\n", 3, "epochs stands there twice"),
        ("training: {epochs: 3}\nname: a\ntraining: {seed: 4}\n", 3, "training stands there twice"),
        ("name: a\n---\nname: b\n", 2, "but found another document"),
        ("training:\n  epochs: [1, !!int 0b_]\n", 2, "0b_ is no int: correct it, or put it in quotes"),
        ("name: !!timestamp soon\n", 1, "could not determine a constructor for the tag"),
        ("name: mine\ndata: " + "[" * 5000 + "]" * 5000 + "\n", 2, "values stand more than 32 deep in one another"),
        ("data: &all {source: sample, files: *all}\n", 1, "an alias stands inside of what it stands for"),
        ('data: {source: sample}\nname: "\\ud83d"\n', 2, "has half a character: write it whole"),
        ("name: !!bool maybe\n", 1, "maybe is no bool"),
    ],
)
def test_a_file_that_is_not_yaml(tmp_path: Path, text: str, line: int, problem: str) -> None:
    file = written(tmp_path, text)
    sentence = refusal_of_file(file)
    assert sentence.startswith(f"{file}, line {line} is not valid YAML: ")
    assert problem in sentence


def test_a_file_without_end() -> None:
    assert refusal_of_file("/dev/zero").startswith("there is no recipe '/dev/zero'")


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    file = written(tmp_path, b"#" * 2**21)
    assert refusal_of_file(file) == (
        f"{file} is not valid YAML: it has 1,048,577 characters, and 1,048,576 are the most that are read"
    )


@pytest.mark.parametrize(
    ("line", "name"), [("2024-01-01", "2024-01-01"), ("no", "no"), ("1e3", "1e3"), ("1.10", "1.10"), ("1_0", "1_0")]
)
def test_a_name_that_only_looks_like_something_else(tmp_path: Path, line: str, name: str) -> None:
    file = written(tmp_path, f"name: {line}\ndata: {{url: a.csv, label_column: {line}, labels: [{line}, b]}}\n")
    recipe = load_recipe(str(file))
    assert (recipe.name, recipe.data.label_column, recipe.data.labels) == (name, name, (name, "b"))


@pytest.mark.parametrize(("line", "rate"), [("1e-3", 1e-3), ("5.0e-5", 5e-5), ("0.1", 0.1), ("1", 1.0)])
def test_numbers_in_any_form(tmp_path: Path, line: str, rate: float) -> None:
    file = written(tmp_path, f"data: {{source: sample}}\ntraining: {{learning_rate: {line}}}\n")
    assert load_recipe(str(file)).training.learning_rate == rate


def test_half_a_character_on_a_command_line() -> None:
    """It stands for a byte that is not UTF-8."""
    assert refusal(SAMPLE, {"name": "a\udcff"}) == (
        "recipe mine: --name is 'a\\udcff', but must be text in whole characters;"
        " registry.name is 'a\\udcff', but must be text in whole characters"
    )


def test_a_file_with_characters_that_yaml_refuses(tmp_path: Path) -> None:
    file = written(tmp_path, b"name: a\x00b\n")
    assert "special characters are not allowed" in refusal_of_file(file)


@pytest.mark.parametrize(("text", "shown"), [("- a\n- b\n", "['a', 'b']"), ("hello", "'hello'"), ("5", "5")])
def test_a_file_that_holds_no_fields(tmp_path: Path, text: str, shown: str) -> None:
    file = written(tmp_path, text)
    assert refusal_of_file(file) == f"{file} holds {shown}, but must hold groups of fields, such as 'training:'"


# -- fields in words --------------------------------------------------------------------------------------------


def test_fields_come_in_the_order_in_which_they_are_written() -> None:
    paths = [field.path for field in recipe_fields(ClassifyRecipe)]
    assert paths[:3] == ["name", "data.source", "data.url"]
    assert paths[-4:] == [
        "registry.name",
        "registry.promote",
        "registry.significance",
        "registry.max_false_positive_increase",
    ]
    assert len(paths) == len(set(paths))


def test_a_field_in_words() -> None:
    fields = {field.path: field for field in recipe_fields(ClassifyRecipe)}
    assert fields["training.patience"].kind == "a whole number of at least 1 or null"
    assert fields["training.patience"].default is None
    assert fields["training.epochs"].description == "passes over the training split"


def test_off_in_a_file_is_the_word_and_not_a_switch(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("data: {source: sample}\ntraining: {feature_cache: off}\nsplit: {stratify: false}\n")
    recipe = load_recipe(str(file))
    assert recipe.training.feature_cache == "off"
    assert recipe.split.stratify is False


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ("{spam: [SPAM, '1'], ham: 0}", {"spam": ("SPAM", "1"), "ham": ("0",)}),
        ("{yes: [Y, true], no: [N], null: [], 1.0: [], 012: []}",
         {"yes": ("Y", "true", "True", "TRUE"), "no": ("N",), "null": (), "1.0": (), "012": ()}),
        ("[spam, yes, 1]", ("spam", "yes", "1")),
        ("{0: ['1'], 1: ['0']}", {"0": ("1",), "1": ("0",)}),
        ("null", None),
    ],
)  # fmt: skip
def test_labels_are_text_whatever_yaml_takes_them_for(written: str, labels: Any, tmp_path: Path) -> None:
    file = tmp_path / "labels.yaml"
    file.write_text(f"data: {{url: t.csv, labels: {written}}}\n")
    loaded = load_recipe(str(file))
    assert names_of_labels(loaded.data.labels) == labels
    assert build_recipe(loaded.model_dump(mode="json")) == loaded  # as it is kept with a model
    assert build_recipe({"data": {"url": "t.csv"}}, {"data.labels": written}).data == loaded.data


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("spam", "must be {name: [spelling, …]}, a list of names or null"),
        ("{}", "must be {name: [spelling, …]}, a list of names or null"),
        ("[spam, spam ]", "data.labels has 'spam' twice: leave it out once"),
        ("{a: [c], b: [c]}", "data.labels has 'c' twice: leave it out once"),
        ("[a, {b: c}]", "must be {name: [spelling, …]}, a list of names or null"),
    ],
)
def test_labels_that_mean_nothing_are_refused(written: str, words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)):
        build_recipe({"data": {"url": "t.csv"}}, {"data.labels": written})


@pytest.mark.parametrize(
    ("written", "label"),
    [("1", "1"), ("yes", "yes"), ("true", "true"), ("null", None), ('"null"', "null"), ("'1'", "1"), ("it's", "it's")],
)
def test_a_positive_label_may_have_any_name(written: str, label: str | None, tmp_path: Path) -> None:
    recipe = build_recipe({"data": {"url": "t.csv"}}, {"evaluation.positive_label": written})
    assert recipe.evaluation.positive_label == label
    file = tmp_path / "labels.yaml"
    file.write_text(f"data: {{url: t.csv}}\nevaluation:\n  positive_label: {written}\n")
    assert load_recipe(str(file)).evaluation.positive_label == label


def test_a_name_for_rare_labels_needs_a_class_that_they_become() -> None:
    with pytest.raises(RecipeError, match=r"rare_label_name is 'rest', but data\.rare_labels is 'drop'"):
        build_recipe({"data": {"url": "t.csv", "rare_labels": "drop", "rare_label_name": "rest"}})


def test_what_a_type_refuses_is_told_of_its_field() -> None:
    there_is_none = "there is no encoding 'utf8000': name one such as utf-8, cp1252 or utf-16"
    assert refusal({"data": {"encoding": "utf8000"}}) == f"recipe mine: data.encoding: {there_is_none}"
    assert refusal(SAMPLE, {"data.encoding": "utf8000"}) == f"--data.encoding: {there_is_none}"
