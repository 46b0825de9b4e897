"""Typed recipes: every knob of a run, with its unit, its default and what it conflicts with.

Here belong the fields, their checks, and reading a recipe from YAML with overrides. What a field does lives with
the code that does it; functions in `lib` take plain values, never a recipe.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lib.errors import RecipeError

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
SUM_TOLERANCE = 1e-6  # 0.7 + 0.1 + 0.2 is 0.9999999999999999 in binary floating point

# What each source is, so that a recipe need only name it; a recipe's own fields win.
PRESETS: dict[str, dict[str, Any]] = {
    "sample": {
        "member": "SMSSpamSample",
        "sha256": "4d49d39dba84af3638225cd2dbe1c447b320b439bf665e3a49dfcdbb87adb286",
        "format": "tsv",
        "label_column": 0,
        "text_column": 1,
        "quoting": "none",
    },
    # Almeida and Gomez Hidalgo, SMS Spam Collection v.1, UCI Machine Learning Repository 228, CC BY 4.0
    "sms-spam": {
        "url": (
            "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
            "https://f001.backblazeb2.com/file/LLMs-from-scratch/sms%2Bspam%2Bcollection.zip",
        ),
        "member": "SMSSpamCollection",
        "sha256": "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
        "format": "tsv",
        "label_column": 0,
        "text_column": 1,
        "quoting": "none",
    },
    "file": {},
}

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy's and torch's generators both accept


class Section(BaseModel):
    """One group of a recipe's fields: immutable, and closed to fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    """Where the labelled texts come from and how their file is written."""

    source: Literal["sample", "sms-spam", "file"] = Field(
        "file", description="the bundled sample, the SMS Spam Collection, or your own file at `data.url`"
    )
    url: str | tuple[str, ...] | None = Field(
        None,
        description="https://, file:// or a path; of several, the first that answers is used"
        " (null: the source's own address)",
    )
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="checksum of the data file, after unpacking (null: the source's own, or not checked)",
    )
    member: str | None = Field(
        None, description="the file inside a zip archive (null: the only one, or the source's own)"
    )
    format: Literal["tsv", "csv", "jsonl", "parquet"] | None = Field(
        None, description="how the file is written (null: by the ending of its name)"
    )
    text_column: str | int = Field(
        "text",
        description="the column with the texts: its name, or its position (from 0) in a file without header",
    )
    label_column: str | int = Field(
        "label", description="the column with the labels: its name, or its position in a file without header"
    )
    quoting: Literal["none", "csv"] = Field(
        "csv",
        description="whether double quotes in TSV and CSV enclose fields (csv) or are part of the text (none)",
    )
    empty_text: Literal["error", "drop"] = Field(
        "error",
        description="what to do with a row whose text is empty: refuse the file, or leave the row out",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_source(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {**PRESETS.get(str(given.get("source", "file")), {}), **given}

    @field_validator("text_column", "label_column", mode="before")
    @classmethod
    def _digits_are_a_position(cls, column: Any) -> Any:
        # On the command line everything is text, so 0 and "0" must mean the same.
        return int(column) if isinstance(column, str) and column.isdecimal() else column

    @model_validator(mode="after")
    def _columns_agree(self) -> Data:
        if self.source == "file" and self.url is None:
            raise ValueError("data.url is missing: data.source is 'file', so say where the file is")
        if isinstance(self.text_column, int) != isinstance(self.label_column, int):
            raise ValueError(
                "data.text_column and data.label_column must both be names (a file with a header row)"
                " or both positions (a file without one)"
            )
        if self.text_column == self.label_column:
            raise ValueError(f"data.text_column and data.label_column are both {self.text_column!r}")
        return self


class Balance(Section):
    """What is done about classes of unequal size."""

    method: Literal["undersample", "oversample", "class_weights", "none"] = Field(
        "none",
        description="draw as many of each class as the smallest has, repeat the smaller classes' training"
        " messages, weigh the loss by inverse class frequency, or leave as is",
    )
    seed: Seed = Field(123, description="seed of the drawing")


class Split(Section):
    """How messages are divided into train, validation and test."""

    train: float = Field(0.7, gt=0, lt=1, description="fraction of the messages to train on")
    validation: float = Field(0.1, gt=0, lt=1, description="fraction to choose the best epoch by")
    test: float = Field(0.2, gt=0, lt=1, description="fraction that only the final figures see")
    seed: Seed = Field(123, description="seed of the shuffle")
    stratify: bool = Field(True, description="give each split the same share of each class")
    group_duplicates: bool = Field(
        True, description="keep texts that differ only in case, digits, punctuation or space in one split"
    )

    @model_validator(mode="after")
    def _fractions_sum_to_one(self) -> Split:
        total = self.train + self.validation + self.test
        if abs(total - 1) > SUM_TOLERANCE:
            raise ValueError(
                f"split.train + split.validation + split.test is {total:g}: the three fractions must sum to 1"
            )
        return self


class Encoding(Section):
    """How texts become tokens."""

    name: Literal["gpt2"] = Field("gpt2", description="tiktoken's name of the encoding")
    max_length: int | None = Field(
        None,
        ge=1,
        description="tokens kept of each message (null: as many as the longest training message has)",
    )


class Model(Section):
    """The backbone: the GPT before its classifier head."""

    size: Literal["tiny", "gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl", "from-weights"] = Field(
        "tiny", description="the shape of the GPT; from-weights: whatever `model.weights` has"
    )
    weights: str = Field(
        "scratch",
        description="scratch (random numbers from `model.seed`), or a local folder with config.json and"
        " model.safetensors in Hugging Face layout",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="probability of dropping an activation while training")
    seed: Seed = Field(123, description="seed of weights made from scratch")

    @model_validator(mode="after")
    def _size_is_known(self) -> Model:
        if self.size == "from-weights" and self.weights == "scratch":
            raise ValueError("model.size is 'from-weights', but model.weights is 'scratch': name a folder or a size")
        return self


class Classifier(Section):
    """The head on the backbone, and which part of both learns."""

    trainable: Literal["head", "last_block", "last_two_blocks", "all"] = Field(
        "all",
        description="which part learns: the head; with the last norm and the last block or two; everything",
    )
    pooling: Literal["last_token", "padded_last", "first_token", "mean"] = Field(
        "last_token",
        description="which position feeds the head: the last real token, the last position (padding or not), the"
        " first, or the mean over real tokens",
    )
    padding: Literal["batch", "longest"] | Annotated[int, Field(ge=1)] = Field(
        "batch",
        description="pad to the longest of each batch, with batches sorted by length; to `encoding.max_length`;"
        " or to a number of tokens",
    )


class Training(Section):
    """The optimisation."""

    epochs: int = Field(5, ge=1, description="passes over the training messages")
    batch_size: int = Field(8, ge=1, description="messages a batch")
    learning_rate: float = Field(5e-5, gt=0, description="AdamW's, after warm-up")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="the learning rate after warm-up: unchanged, or a half cosine down to zero"
    )
    warmup_steps: int = Field(0, ge=0, description="optimizer steps over which the learning rate rises linearly")
    gradient_clip: float | None = Field(
        None, gt=0, description="largest norm of all gradients together (null: not clipped)"
    )
    gradient_accumulation: int = Field(1, ge=1, description="batches whose gradients make one optimizer step")
    seed: Seed = Field(123, description="seed of the head, the order of messages and dropout")
    evaluate_every: int = Field(50, ge=1, description="batches between two evaluations")
    evaluate_batches: int | None = Field(
        5, ge=1, description="batches of each split that an evaluation looks at (null: all of them)"
    )
    checkpoint_every: int = Field(500, ge=1, description="batches between two checkpoints that a killed run resumes")
    keep: Literal["last", "best"] = Field(
        "last", description="the weights after the last step, or those with the lowest validation loss"
    )
    patience: int | None = Field(
        None, ge=1, description="stop after so many epochs without a lower validation loss (null: never)"
    )
    precision: Literal["float32", "bfloat16"] = Field("float32", description="arithmetic of the matrix products")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a CUDA device where there is one")


class Evaluation(Section):
    """What the final figures contain."""

    baseline: bool = Field(True, description="fit TF-IDF with logistic regression on the same split, to compare")
    natural_prevalence: bool = Field(
        True, description="also estimate the figures at the source file's own class shares, using the reserve"
    )
    confidence: float = Field(0.95, gt=0, lt=1, description="level of the confidence intervals")
    positive_label: str | None = Field(
        None,
        description="of two classes, the one that precision and recall are about (null: the last in alphabetical"
        " order)",
    )


class Registry(Section):
    """Where the classifier goes in MLflow's registry."""

    name: str = Field("text-classifier", min_length=1, pattern=r"^[^/:]+$", description="the registered model's name")


class ClassifyRecipe(Section):
    """All of a run that fine-tunes a classifier."""

    name: str = Field("custom", min_length=1, description="what runs of this recipe are called")
    data: Data = Field(default_factory=Data)
    balance: Balance = Field(default_factory=Balance)
    split: Split = Field(default_factory=Split)
    encoding: Encoding = Field(default_factory=Encoding)
    model: Model = Field(default_factory=Model)
    classifier: Classifier = Field(default_factory=Classifier)
    training: Training = Field(default_factory=Training)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    registry: Registry = Field(default_factory=Registry)


# -- reading recipes ----------------------------------------------------------------------------------------


class RecipeField(BaseModel):
    """One leaf field, as the command line and the docs show it."""

    path: str
    kind: str
    default: Any
    description: str


def recipe_fields(model: type[BaseModel], prefix: str = "") -> Iterator[RecipeField]:
    """Every leaf field of `model`, in the order in which it is written, with its dotted path."""
    for name, info in model.model_fields.items():
        path = f"{prefix}{name}"
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from recipe_fields(annotation, f"{path}.")
        else:
            default = info.get_default(call_default_factory=True)
            yield RecipeField(path=path, kind=_kind(annotation), default=default, description=info.description or "")


def _kind(annotation: Any) -> str:
    """A type in the words of a recipe: `a | b | number`, `text`, `null`."""
    origin = get_origin(annotation)
    if origin is Literal:
        return " | ".join(str(choice) for choice in get_args(annotation))
    if origin in (Union, types.UnionType):
        return " | ".join(_kind(part) for part in get_args(annotation))
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin is tuple:
        return f"[{_kind(get_args(annotation)[0])}, ...]"
    return {str: "text", int: "whole number", float: "number", bool: "true | false", types.NoneType: "null"}[annotation]


def load_recipe(name: str, overrides: Mapping[str, str] | None = None, *, folder: str = "classify") -> ClassifyRecipe:
    """The recipe called `name` in `recipes/<folder>`, or in the YAML file at that path, with overrides.

    `overrides` maps dotted fields to values as typed on a command line: `null`, `[a, b]` or plain text.
    Raises RecipeError with one sentence that names the field.
    """
    return build_recipe(_read_yaml(_find(name, folder)), overrides, origin=name)


def build_recipe(
    values: Mapping[str, Any], overrides: Mapping[str, str] | None = None, *, origin: str = "the recipe"
) -> ClassifyRecipe:
    """A checked recipe from nested values and dotted overrides; `origin` is what an error calls it."""
    merged: dict[str, Any] = {key: dict(v) if isinstance(v, Mapping) else v for key, v in values.items()}
    known = {field.path for field in recipe_fields(ClassifyRecipe)}
    for path, value in (overrides or {}).items():
        if path not in known:
            raise RecipeError(unknown_field(path, "the command line"))
        section, _, name = path.rpartition(".")
        target = merged.setdefault(section, {}) if section else merged
        if not isinstance(target, dict):
            raise RecipeError(f"{origin}: {section} must be a group of fields, not {target!r}")
        target[name] = _parse(value)
    try:
        return ClassifyRecipe.model_validate(merged)
    except ValidationError as error:
        raise RecipeError(_sentence(error, origin)) from None


def unknown_field(path: str, origin: str) -> str:
    """The sentence for a field that no recipe has, with the nearest one that there is."""
    known = [field.path for field in recipe_fields(ClassifyRecipe)]
    # The last part alone finds `learning_rate` in its section; the whole path finds a misspelt section.
    by_name = {field.rpartition(".")[2]: field for field in known}
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.75) or [
        by_name[name] for name in difflib.get_close_matches(path.rpartition(".")[2], by_name, n=1, cutoff=0.6)
    ]
    hint = f": did you mean {near[0]}?" if near else "; --help lists all of them"
    return f"{origin} has the field {path}, which no recipe knows{hint}"


def _find(name: str, folder: str) -> Path:
    bundled = RECIPES / folder / f"{name}.yaml"
    if bundled.is_file():
        return bundled
    path = Path(name).expanduser()
    if path.is_file():
        return path
    names = sorted(file.stem for file in (RECIPES / folder).glob("*.yaml"))
    raise RecipeError(f"there is no recipe {name!r}: give the path of a YAML file, or one of {', '.join(names)}")


def _read_yaml(file: Path) -> Mapping[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise RecipeError(f"{file} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f" in line {place.line + 1}" if place else ""
        raise RecipeError(f"{file} is not valid YAML{line}: {getattr(error, 'problem', error)}") from None
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise RecipeError(f"{file} must hold fields like 'training:', not a {type(values).__name__}")
    return values


def _parse(value: str) -> Any:
    """A value typed on the command line. Numbers stay text: the field's own type reads them."""
    if value == "null":
        return None
    if value.startswith("["):
        try:
            return yaml.safe_load(value)
        except yaml.YAMLError:
            return value
    return value


def _sentence(error: ValidationError, origin: str) -> str:
    """pydantic's findings as one sentence: each field once, with what was given and what is wanted."""
    fields = {field.path: field for field in recipe_fields(ClassifyRecipe)}
    findings: dict[str, str] = {}
    for finding in error.errors():
        parts = [str(part) for part in finding["loc"]]
        # A union's members add their own parts behind the field's path.
        path = next((p for n in (2, 1) if (p := ".".join(parts[:n])) in fields), ".".join(parts[:2]))
        if finding["type"] == "extra_forbidden":
            findings[path] = unknown_field(".".join(parts), origin)
        elif finding["type"] == "value_error":
            findings[path] = str(finding["ctx"]["error"])
        elif path in fields and finding["type"] in {
            "literal_error",
            "int_parsing",
            "float_parsing",
            "bool_parsing",
        }:
            findings[path] = f"{path} is {finding['input']!r}, but must be {fields[path].kind}"
        else:
            message = finding["msg"][0].lower() + finding["msg"][1:]
            findings[path] = f"{path} is {finding['input']!r}: {message}"
    return "; ".join(findings.values())
