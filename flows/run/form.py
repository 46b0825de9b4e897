"""A recipe's fields as a form: the same sections, names, limits and descriptions, and none of them required.

Prefect builds its run form from it and checks a run's parameters against it before anything starts. What fields mean
together is checked when the recipe is built, as for the command line.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo

from lib.recipes.reading import RECIPES

NOT_OFFERED = ("published",)  # no step reads it
RecipeFile = Annotated[str, Field(title="a YAML file on the machine that runs it", pattern=r"\.ya?ml$")]


class Overrides(BaseModel):
    """Fields of a recipe that one run has otherwise; what is not given stays as the recipe says."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_is_nothing(cls, given: Any) -> Any:
        """Prefect lets null pass for every field that is not required: where it means nothing, nothing was given."""
        if not isinstance(given, dict):
            return given
        nullable = {name for name, info in cls.model_fields.items() if type(None) in get_args(info.annotation)}
        return {name: value for name, value in given.items() if value is not None or name in nullable}

    @model_serializer(mode="wrap")
    def _given(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Only what was given: null means something for some fields, and nothing was said of the others."""
        return {name: value for name, value in whole(self).items() if name in self.model_fields_set}


def overrides_of(recipe: type[BaseModel], *, without: Collection[str] = NOT_OFFERED) -> type[Overrides]:
    """The form for recipes of this type, but for the fields or sections that are left out."""
    fields: dict[str, Any] = {}
    for name, info in recipe.model_fields.items():
        if name in without:
            continue
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            section = overrides_of(info.annotation)
            fields[name] = (section, Field(default_factory=section, title=name))
        else:
            fields[name] = (info.rebuild_annotation(), _not_required(name, info))
    # What is seen of the form is named as the recipe is: "Training", "ClassifyRecipe".
    return create_model(recipe.__name__, __base__=Overrides, __doc__=recipe.__doc__, **fields)


def _not_required(name: str, info: FieldInfo) -> Any:
    def without_default(schema: dict[str, Any]) -> None:
        schema.pop("default")  # null, which few fields may be

    return Field(default=None, title=name, description=info.description, json_schema_extra=without_default)


def recipe_name(folder: str) -> Any:
    """The type of a parameter that names a bundled recipe of `recipes/<folder>`, or a YAML file where the run runs."""
    bundled = tuple(sorted(file.stem for file in (RECIPES / folder).glob("*.yaml")))
    return Literal[bundled] | RecipeFile


def dotted(overrides: Overrides) -> dict[str, str]:
    """What was given as `lib.recipes.reading.load_recipe` takes it: by dotted field, as typed on a command line."""
    return {
        path: value if isinstance(value, str) else json.dumps(value)
        for path, value in _leaves(overrides.model_dump(mode="json"))
    }


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
