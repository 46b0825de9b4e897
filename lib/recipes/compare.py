"""The recipe of a comparison: which variants there are, what they are measured by, and who sees the test split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from lib.recipes.fields import MAPPING, either
from lib.recipes.search import Search
from lib.recipes.sections import REGISTERED_NAME, Described, Section, Share, Text
from lib.secrets import Address

Metric = Literal["accuracy", "f1", "mcc", "roc_auc", "log_loss"]
MOST_VARIANTS = 1000  # more is a mistake in a grid


def _kept(value: Any) -> Any:
    """Takes the secrets out of addresses, here where they enter, as a recipe's own fields do."""
    if isinstance(value, str):
        return Address(value) if "://" in value else value
    if isinstance(value, list | tuple):
        return type(value)(_kept(each) for each in value)
    return {name: _kept(each) for name, each in value.items()} if isinstance(value, dict) else value


def _as_they_are(given: Any) -> Any:
    """Makes names of fields texts; what they are set to, the recipe that gets them checks."""
    return {str(name): _kept(value) for name, value in given.items()} if isinstance(given, Mapping) else given


def _by_name(given: Any) -> Any:
    """Converts names that YAML takes for numbers; a variant without changes may be written with nothing behind it."""
    if not isinstance(given, Mapping):
        return given
    return {str(name): _as_they_are({} if changes is None else changes) for name, changes in given.items()}


def _values(given: Any) -> Any:
    """Converts one value to a list of one."""
    if not isinstance(given, Mapping):
        return given
    lists = {str(name): each if isinstance(each, list | tuple) else [each] for name, each in given.items()}
    return {name: tuple(_kept(value) for value in each) for name, each in lists.items()}


Changes = Annotated[
    dict[Text, Any], BeforeValidator(_as_they_are), Described(f"{MAPPING}field: value, …}} with dotted fields")
]
Variants = Annotated[
    dict[Text, dict[Text, Any]], BeforeValidator(_by_name), Described(f"{MAPPING}name: {{field: value, …}}, …}}")
]
Grid = Annotated[
    dict[Text, Annotated[tuple[Any, ...], Field(min_length=1)]],
    BeforeValidator(_values),
    Described(f"{MAPPING}field: [value, …], …}}"),
]
PublishedShares = Annotated[
    dict[Text, dict[Literal["train", "validation", "test"], Share]],
    BeforeValidator(_by_name),
    Described(f"{MAPPING}name: {{validation: 0.98, test: 0.97}}, …}}"),
]


class CompareRecipe(Section):
    """All of a comparison. Its variants come from one of `recipes`, `variants`, `grid` and `search`."""

    name: Annotated[str, Field(min_length=1, pattern=REGISTERED_NAME)] = Field(
        default="comparison",
        description="what the comparison is called, and the registered model's name if it registers one and `changes`"
        " sets no registry.name (left out: the file's name)",
    )
    recipe: Text | None = Field(
        default=None,
        description="the recipe that is varied: a name in recipes/classify, or a YAML file, also beside this one",
    )
    recipes: tuple[Text, ...] = Field(
        default=(), description="whole recipes to compare, as they are, in place of variants of one"
    )
    changes: Changes = Field(default={}, description="fields of the recipe that all variants have set")
    variants: Variants = Field(
        default={},
        description="each variant's name, and the fields in which it differs; the others are compared with the first",
    )
    grid: Grid = Field(
        default={}, description="fields with the values to try: each combination of them is a variant, the first first"
    )
    published: PublishedShares = Field(
        default={}, description="published accuracies of variants, by their names, which stand beside ours"
    )
    metric: Metric = Field(
        default="accuracy",
        description="what the best variant has most of, on the messages that all are compared on; of log_loss, least",
    )
    repeats: int = Field(
        default=1,
        ge=1,
        le=100,
        description="how often each variant is trained, with training.seed counted up (and model.seed of a network from"
        " scratch): how much of a difference is the seed",
    )
    baseline: bool = Field(
        default=False,
        description="compare with TF-IDF and logistic regression as well, which is never chosen",
    )
    parallel: int | None = Field(
        default=None,
        ge=1,
        description="how many are trained at the same time, each in its own process (null: on a GPU one, elsewhere as"
        " many as there are processors, at most four; on a Ray cluster cluster.workers)",
    )
    processors: int | None = Field(
        default=None,
        ge=1,
        description="processors of each training, on this machine or on a Ray cluster (null: an equal share here, one"
        " there); on a Ray cluster also a GPU each, with training.device cuda",
    )
    open_test: bool = Field(
        default=True, description="let the chosen variant, and no other, be measured on the test split at the end"
    )
    register_chosen: bool = Field(
        default=False,
        description="register the chosen variant as a version under registry.name, and compare it with the champion",
    )
    search: Search = Search()

    @field_validator("published")
    @classmethod
    def _published_figures_are_some(cls, given: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        for name, shares in given.items():
            if not shares:
                raise ValueError(f"published.{name} has no figure: write {{validation: 0.98}}, or leave it out")
        return given

    @model_validator(mode="after")
    def _variants_come_from_one_place(self) -> CompareRecipe:
        ways = ("recipes", "variants", "grid", "search")
        given = [way for way in ways if (self.search.spaces if way == "search" else getattr(self, way))]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} both say which variants there are: leave one of them out")
        if not given:
            raise ValueError(f"nothing says which variants there are: give {either(ways)}")
        if (self.recipe is None) != (given == ["recipes"]):
            raise ValueError(
                "recipe names what is varied, and recipes are compared as they are: give one of the two"
                if self.recipe is not None
                else f"{given[0]} varies a recipe, and none is named: set recipe"
            )
        if self.published and given == ["search"]:
            raise ValueError("published names variants, and a search has no names for them: leave it out")
        return self

    @model_validator(mode="after")
    def _a_search_trains_once(self) -> CompareRecipe:
        if self.search.spaces and self.repeats > 1:
            raise ValueError(
                f"repeats is {self.repeats}, and a search trains each of its variants once: leave repeats out, and"
                " compare what the search finds in a comparison of its own"
            )
        return self

    @model_validator(mode="after")
    def _only_what_was_measured_is_registered(self) -> CompareRecipe:
        if self.register_chosen and not self.open_test:
            raise ValueError(
                "register_chosen is true, and open_test is false: a version is registered with its figures on the test"
                " split, so set open_test to true, or leave register_chosen out"
            )
        return self
