"""Whether features are kept, and the reason that is given."""

from typing import Any, get_args

import pytest

from lib.errors import RecipeError
from lib.model.features.choice import FeatureSize, FrozenPart, choose_features
from lib.model.machine.device import feature_dtype, has_cuda
from lib.model.trainable import Trainable, frozen_blocks, learning_blocks
from tests.support.recipes import build_recipe


def choose(setting: str = "auto", **fields: Any) -> tuple[bool, str]:
    """The choice for GPT-2 124M on the 45,702 tokens of the SMS messages, but for `fields`."""
    part: dict[str, Any] = {"n_layers": 12, "learning_blocks": 1, "pooling": "last_token", "dropout": 0.0}
    size: dict[str, Any] = {"tokens": 45_702, "emb_dim": 768, "dtype": "float32"}
    rest: dict[str, Any] = {"epochs": 5, "budget_gib": 1.0}
    for name, value in fields.items():
        next(group for group in (part, size, rest) if name in group)[name] = value
    choice = choose_features(setting, FrozenPart(**part), FeatureSize(**size), **rest)
    return choice.keep, choice.reason


@pytest.mark.parametrize(
    ("setting", "fields", "keep", "reason"),
    [
        ("auto", {}, True, "11 of 12 blocks run once instead of in 5 epochs; 0.13 GiB for 45,702 tokens in float32"),
        ("auto", {"dtype": "bfloat16"}, True, "0.07 GiB for 45,702 tokens in bfloat16"),
        ("auto", {"learning_blocks": 0, "epochs": 1}, True, "12 of 12 blocks run once instead of in training and"),
        ("auto", {"budget_gib": 0.1}, False, "0.13 GiB for 45,702 tokens in float32 is over training.feature_budget"),
        ("on", {"budget_gib": 0.1}, True, "11 of 12 blocks"),
        ("off", {}, False, "training.feature_cache is off"),
        ("auto", {"learning_blocks": None}, False, "every block learns"),
        ("auto", {"learning_blocks": 2, "n_layers": 2}, False, "all 2 blocks learn"),
        ("auto", {"pooling": "padded_last"}, False, "reads the padding"),
        ("auto", {"dropout": 0.1}, False, "model.dropout changes"),
    ],
)
def test_the_choice_and_its_reason(setting: str, fields: dict[str, Any], keep: bool, reason: str) -> None:
    kept, said = choose(setting, **fields)
    assert kept == keep
    assert reason in said


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [("classifier", "trainable", "all"), ("classifier", "pooling", "padded_last"), ("model", "dropout", 0.1)],
)
def test_a_recipe_that_asks_for_the_impossible_is_refused(section: str, field: str, value: object) -> None:
    values: dict[str, Any] = {
        "data": {"source": "sample"},
        "classifier": {"trainable": "last_block", "padding": "longest"},
        "training": {"feature_cache": "on"},
    }
    build_recipe(values)
    values[section] = {**values.get(section, {}), field: value}
    with pytest.raises(RecipeError, match=rf"feature_cache is 'on', but with {section}\.{field} {value!r}"):
        build_recipe(values)


def test_on_is_refused_where_the_model_has_nothing_frozen() -> None:
    with pytest.raises(RecipeError, match=r"feature_cache is 'on', but the model has 2 blocks and the last 2 learn"):
        choose("on", learning_blocks=2, n_layers=2)


@pytest.mark.parametrize("trainable", get_args(Trainable))
def test_every_trainable_part_says_how_much_is_frozen(trainable: Trainable) -> None:
    expected = {"head": (0, 12), "last_block": (1, 11), "last_two_blocks": (2, 10), "all": (None, 0), "lora": (None, 0)}
    assert (learning_blocks(trainable), frozen_blocks(trainable, 12)) == expected[trainable]
    assert frozen_blocks("lora", 12, lora_blocks=3) == 9


@pytest.mark.parametrize(
    ("setting", "precision", "device", "expected"),
    [
        ("auto", "float32", "cpu", "float32"),
        ("auto", "bfloat16", "cpu", "bfloat16"),
        ("auto", "float32", "cuda", "bfloat16"),
        ("float32", "bfloat16", "cuda", "float32"),
        ("bfloat16", "float32", "cpu", "bfloat16"),
    ],
)
def test_what_features_are_kept_in(setting: str, precision: str, device: str, expected: str) -> None:
    assert feature_dtype(setting, precision=precision, device=device) == expected


def test_the_driver_says_the_same_of_gpus_as_torch() -> None:
    import torch

    assert has_cuda() == torch.cuda.is_available()
