"""The fields of a search for a recipe's best values, and the spaces that they come to for a kind of recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from lib.errors import RecipeError
from lib.extras import require
from lib.recipes.fields import MAPPING, RecipeField, recipe_fields
from lib.recipes.mistakes import refusal, shown, unknown_field
from lib.recipes.sections import Described, Place, Section, Seed, Text
from lib.search.spaces import Interval, Space, Value
from lib.secrets import Address, has_reference

POSTGRES = ("postgresql", "postgresql+psycopg2", "postgres")
SPACES = "search.spaces"

Choice = bool | int | float | str | None
Choices = tuple[Choice, ...]


class Range(Section):
    """Numbers from low to high, both included. Of a field that takes whole numbers, only these."""

    low: float = Field(description="the smallest")
    high: float = Field(description="the largest")
    log: bool = Field(default=False, description="as likely between 0.001 and 0.01 as between 0.01 and 0.1")
    step: float | None = Field(
        default=None, gt=0, description="only low, low + step, low + 2 · step, … (null: any, of whole numbers each)"
    )

    @model_validator(mode="after")
    def _there_is_something_to_choose(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g} and high is {self.high:g}, but low must be below high")
        if self.log and self.step is not None:
            raise ValueError("log and step both say how the numbers lie between low and high: leave one of them out")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low:g}, but with log it must be above 0, as its logarithm is needed")
        if self.step is not None and self.step > self.high - self.low:
            raise ValueError(f"step is {self.step:g}, which from low {self.low:g} on passes high {self.high:g} at once")
        return self


def _checked_spaces(given: Any) -> Any:
    """Makes each space a range or choices; says which one is wrong."""
    if not isinstance(given, Mapping):
        return given
    return {str(name): _checked_space(f"{SPACES}: {name}", space) for name, space in given.items()}


def _checked_space(origin: str, space: Any) -> Range | Choices:
    if isinstance(space, Range):
        return space
    if isinstance(space, Mapping):
        given = {str(name): value for name, value in space.items()}
        try:
            return Range.model_validate(given)
        except ValidationError as error:
            raise ValueError(refusal(error, given, (), origin, Range)) from None
    if not isinstance(space, list | tuple):
        raise ValueError(f"{origin} is {shown(space)}: write a range, {{low: 1, high: 8}}, or choices, [8, 16, 32]")
    if not space:
        raise ValueError(f"{origin} has no choice: name some, as in [8, 16, 32]")
    for each in space:
        if not isinstance(each, Choice):
            raise ValueError(f"{origin}: {shown(each)} is no choice: name numbers, texts, true, false or null")
        if space.count(each) > 1:  # also 1 and true, which Python takes for the same
            raise ValueError(f"{origin}: {shown(each)} is there twice: name each choice once")
    return tuple(Address(each) if isinstance(each, str) and "://" in each else each for each in space)


Spaces = Annotated[
    dict[Text, Range | Choices],
    BeforeValidator(_checked_spaces),
    Described(f"{MAPPING}field: {{low: …, high: …, log: true}}, field: [choice, …], …}}"),
]


class Search(Section):
    """A search for the values of some fields, in place of variants that are named: each trial is a variant whose values
    are suggested by what the trials before it came to (TPE, by Optuna)."""

    spaces: Spaces = Field(
        default={},
        description="dotted fields of the recipe, each with a range of numbers or a list of choices; a range has `low`"
        " and `high`, both included, and may have `log: true` or a `step`",
    )
    trials: int = Field(
        default=30,
        ge=1,
        le=10_000,
        description="how many trials there are, with the recipe as it is as the first, if its values are in the spaces",
    )
    seconds: float | None = Field(
        default=None,
        gt=0,
        description="seconds, of all starts of the search together, after which no trial begins any more (null: all"
        " trials are made)",
    )
    prune: bool = Field(
        default=True,
        description="end a trial early that is worse than half of the others were at the same point of the training",
    )
    seed: Seed = Field(default=0, description="seed of the suggestions")
    storage: Place | None = Field(
        default=None,
        description="where the trials are kept: postgresql://user:password@host:5432/database (extra `postgres`);"
        " ${NAME} in it stands for a variable of the environment or a Secret block of Prefect (null: a SQLite file in"
        " the home)",
    )

    def require_extras(self) -> None:
        """Raises ExtraError if a search is wanted and a package that it needs is missing."""
        if self.spaces:
            require("optuna", "search", "search")
            if self.storage is not None:
                require("psycopg2", "postgres", "search.storage with a PostgreSQL server")

    @model_validator(mode="after")
    def _something_is_searched(self) -> Search:
        changed = self.changed("trials", "seconds", "prune", "seed", "storage")
        if changed and not self.spaces:
            raise ValueError(
                f"search.{changed[0]} is about a search, and {SPACES} names no field to search: name some, or leave"
                f" search.{changed[0]} out"
            )
        return self

    @model_validator(mode="after")
    def _storage_is_postgresql(self) -> Search:
        scheme, separator, _ = (self.storage or "").partition("://")
        is_server = (separator and scheme.lower() in POSTGRES) or has_reference(scheme)  # which may be all of it
        if self.storage is not None and not is_server:
            raise ValueError(
                f"search.storage is {shown(self.storage)}, but must be a PostgreSQL server's address,"
                " postgresql://user:password@host:5432/database: leave it out for a file in the home"
            )
        return self


def spaces_of(search: Search, model: type[BaseModel]) -> dict[str, Space]:
    """Returns the spaces of a search through recipes of this kind, as `lib.search` takes them: of whole numbers where
    the field takes only these, and with choices that are written as text where numbers are expected as numbers. Raises
    RecipeError for a field that there is not, or that takes no such values."""
    fields = {field.path: field for field in recipe_fields(model)}
    spaces: dict[str, Space] = {}
    for path, space in search.spaces.items():
        if path not in fields:
            raise RecipeError(f"{SPACES}: {unknown_field(path, model=model)}")
        spaces[path] = _interval(fields[path], space) if isinstance(space, Range) else _choices(fields[path], space)
    return spaces


def _interval(field: RecipeField, space: Range) -> Interval:
    if "number" not in field.kind:
        raise RecipeError(
            f"{SPACES}: {field.path} must be {field.kind}, which has no range: name choices, as in [a, b]"
        )
    whole = "a number" not in field.kind
    for name in ("low", "high", "step"):
        value = getattr(space, name)
        if whole and value is not None and value != int(value):
            raise RecipeError(
                f"{SPACES}: {name} of {field.path} is {value:g}, and the field must be {field.kind}: name a whole one"
            )
    return Interval(space.low, space.high, space.log, space.step, whole)


def _choices(field: RecipeField, choices: Choices) -> tuple[Value, ...]:
    return tuple(
        _number(choice) if isinstance(choice, str) and "number" in field.kind else choice for choice in choices
    )


def _number(text: str) -> Value:
    """Returns what a text is as a number: 1e-4 is text in YAML."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
