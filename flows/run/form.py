"""Makes the forms of Prefect's page: what people change of a recipe, and YAML for everything else.

Prefect validates its own fields, and that each line of the YAML begins with a field or a group, before a run starts;
building the recipe validates the rest.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo

from lib.errors import RecipeError, listed
from lib.recipes.fields import section_names, value_at
from lib.recipes.reading import bundled_recipes, load_recipe, read_yaml
from lib.recipes.scoring import ScoringJob
from lib.recipes.sections import Recipe, Section, Text
from lib.secrets import public_values

RecipeFile = Annotated[str, Field(title="a YAML file on the machine that runs it", pattern=r"\.ya?ml$")]

# What each field of a form sets, where the recipe has such a field.
OF_A_RECIPE = {
    "url": "data.url",
    "text_column": "data.text_column",
    "label_column": "data.label_column",
    "epochs": "training.epochs",
    "learning_rate": "training.learning_rate",
    "judge": "judge.provider",
    "registered_name": "registry.name",
}
ADDRESSES = ("url",)
OF_SCORING = {name: name for name in ("name", "run", "format", "text_column", "id_column")}
OWN_FILE = (
    "where a file of your own lies: https://, file:// or an absolute path on the machine that runs it; sets"
    " data.source to file; a secret in it is written ${NAME}, a variable of the worker's environment or a Secret block"
)
OVERRIDES = "any other fields in YAML, one a line, such as {example}; they are checked when the run starts"
# Prefect refuses, and so keeps out of its database, what looks like a password or a token in an address.
NO_SECRET = (
    r"^(?!.*://(?![^/@]*\$\{\w+\}@)[^/?#]*@)"
    r"(?!.*[?&#]([\w.-]*[-_.])?([Ss]ig|[Ss]ignature|[Tt]oken|[Kk]ey|[Ss]ecret|[Pp]assword)=(?!\$\{))"
)
LINE = r"^((({names})(\.\w+)*[ \t]*:|[ \t#]).*(\n|$)|\r?\n)*$"  # of a text: a field or a group, or what belongs to one


class Changes(BaseModel):
    """What one run changes; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    sets: ClassVar[Mapping[str, str]]  # the dotted field of the recipe that each field of the form stands for
    groups: ClassVar[Sequence[str]]  # of the recipe's fields, dotted

    @model_validator(mode="before")
    @classmethod
    def _null_is_nothing(cls, given: Any) -> Any:
        """Prefect lets null pass for every field that is not required."""
        return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given

    @model_serializer(mode="wrap")
    def _given(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Only what was given."""
        return {name: value for name, value in whole(self).items() if name in self.model_fields_set}

    def fields(self) -> dict[str, Any]:
        """What was given, by dotted field, as `lib.recipes.reading` takes it. Raises RecipeError with one sentence if
        the text of overrides is no YAML or repeats a field of the form, or if a secret is written into an address: what
        is sent to Prefect stays there."""
        given = self.model_dump()
        free = dict(_leaves(read_yaml(given.pop("overrides", ""), "overrides"), self.groups))
        fields = {self.sets[name]: value for name, value in given.items()}
        for name in given:
            if self.sets[name] in free:
                raise RecipeError(f"{name} and overrides both set {self.sets[name]}: leave one of them out")
        source = {"data.source": "file"} if "data.url" in fields else {}
        changes = source | fields | free
        for path, value in changes.items():
            if public_values(value) != value:
                raise RecipeError(
                    f"{path} has a secret, which Prefect has kept with this run, where others may read it: change that"
                    " secret, and write ${NAME} in its place, where NAME is a variable of the worker's environment or a"
                    " Secret block of Prefect"
                )
        return changes


def form_of_recipe(recipe: type[Recipe], folder: str) -> type[Changes]:
    """The form for recipes of this type; each field says what the bundled ones of `recipes/<folder>` have."""
    bundled = {name: load_recipe(name, folder=folder, model=recipe) for name in bundled_recipes(folder)}
    values = {name: loaded.model_dump(mode="json") for name, loaded in bundled.items()}
    return _form(recipe, OF_A_RECIPE, "training.batch_size: 16", values)


def form_of_scoring() -> type[Changes]:
    """The form for a scoring job but for its inputs and output."""
    return _form(ScoringJob, OF_SCORING, "part_rows: 10000", {})


def recipe_name(folder: str) -> Any:
    """The type of a parameter that names a bundled recipe of `recipes/<folder>`, or a YAML file where the run runs."""
    return Literal[tuple(bundled_recipes(folder))] | RecipeFile


def _form(model: type[Section], sets: Mapping[str, str], example: str, bundled: Mapping[str, Any]) -> type[Changes]:
    fields: dict[str, Any] = {}
    for name, path in sets.items():
        info = _info(model, path)
        if info is None:
            continue
        words, shown = (OWN_FILE, "data.source") if path == "data.url" else (info.description or "", path)
        pattern = NO_SECRET if name in ADDRESSES else None
        fields[name] = (_one_type(info), _not_required(name, words, bundled, shown, pattern))
    names = "|".join(name for name in model.model_fields if name not in ("inputs", "output"))
    overrides = _not_required("overrides", OVERRIDES.format(example=example), {}, "", LINE.format(names=names))
    form = create_model("Changes", __base__=Changes, __doc__=Changes.__doc__, **fields, overrides=(str, overrides))
    form.sets = sets
    form.groups = section_names(model)
    return form


def _info(model: type[BaseModel], path: str) -> FieldInfo | None:
    """The field at a dotted path, if the model has it."""
    section, _, name = path.rpartition(".")
    if section and section not in model.model_fields:
        return None
    holder: Any = model.model_fields[section].annotation if section else model
    found: FieldInfo | None = holder.model_fields.get(name)
    return found


def _one_type(info: FieldInfo) -> Any:
    """The field's type; text where there are several, for which Prefect's page has no plain control."""
    kind = info.rebuild_annotation()
    if get_origin(info.annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(info.annotation) if kind is not types.NoneType]
        kind = kinds[0] if len(kinds) == 1 else Text
    return Text if "anyOf" in TypeAdapter(kind).json_schema() else kind


def _not_required(name: str, words: str, bundled: Mapping[str, Any], shown: str, pattern: str | None = None) -> Any:
    """A field that has no default in the form: the page would send it, and the recipe's own would not count."""

    def without_default(schema: dict[str, Any]) -> None:
        schema.pop("default")
        if pattern is not None:
            schema["pattern"] = pattern

    has = {recipe: value_at(fields, shown) for recipe, fields in bundled.items()}
    values = listed(f"{recipe} {value}" for recipe, value in has.items() if value != recipe)
    text = words.replace("(null:", "(left out:") + (f"; recipes have: {values}" if values else "")
    return Field(default=None, title=name, description=text, json_schema_extra=without_default)


def _leaves(values: Mapping[Any, Any], groups: Sequence[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and f"{prefix}{name}" in groups:
            yield from _leaves(value, groups, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
