"""Sections, fields, types and checks shared by the recipes of both use cases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from lib.secrets import Address

HUB = "hub"  # as `data.source`: a repository on a Hugging Face hub

OPENAI_SIZES = {  # by `model.weights`
    "openai:124M": "gpt2-small",
    "openai:355M": "gpt2-medium",
    "openai:774M": "gpt2-large",
    "openai:1558M": "gpt2-xl",
}

SHA256 = r"^[0-9a-f]{64}$"
# The names that MLflow accepts, also in search filters.
REGISTERED_NAME = r"^[^/:'\"\\]{1,256}$"
REPOSITORY = r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$"
PATTERNS = {  # in words
    REPOSITORY: "a name such as owner/name",
    SHA256: "64 digits from 0-9 and a-f",
    REGISTERED_NAME: "text of at most 256 characters, without slashes, colons and quotes",
}

Text = Annotated[str, Field(min_length=1)]


def _address(given: Any, text: ValidatorFunctionWrapHandler) -> Address:
    """Takes the secrets out of an address, here where it enters; see `lib.secrets`."""
    return given if isinstance(given, Address) and given else Address(text(given))


Place = Annotated[Text, WrapValidator(_address)]  # an address or a path
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # accepted by numpy's and torch's generators
Share = Annotated[float, Field(ge=0, le=1)]
Loss = Annotated[float, Field(ge=0)]

# Fields whose default depends on the kind of recipe.
Size = Annotated[
    Literal["tiny", "gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl", "from-weights"],
    Field(
        description="the shape of a GPT from scratch, or of a .safetensors file without config.json beside it;"
        " from-weights: whatever `model.weights` has, and the default with all others"
    ),
]
Weights = Annotated[
    Place,
    Field(
        description="scratch (a GPT with random numbers from `model.seed`); a repository on a Hugging Face hub,"
        " `owner/name`, with any encoder or decoder that transformers has; a local folder of one, or with OpenAI's"
        " checkpoint; a .safetensors file of a GPT-2; or OpenAI's own files, openai:124M, openai:355M, openai:774M or"
        " openai:1558M"
    ),
]
Epochs = Annotated[int, Field(ge=1, description="passes over the training split")]
EvaluateEvery = Annotated[int, Field(ge=1, description="batches between two evaluations")]
CheckpointEvery = Annotated[int, Field(ge=1, description="batches between two checkpoints that a killed run resumes")]
Confidence = Annotated[float, Field(gt=0, lt=1, description="level of the confidence intervals")]
RegisteredName = Annotated[str, Field(pattern=REGISTERED_NAME)]
PublishedWeights = Annotated[
    Annotated[tuple[Text, ...], Field(min_length=1)] | None,
    Field(
        description="what identifies the weights that it was measured with: checksums or a revision, as the backbone's"
        " manifest has them (null: nothing was published)"
    ),
]

POSITION = re.compile(r"[0-9]{1,9}")


def _position(column: Any) -> Any:
    """Converts digits to a column number: a command line gives text, so 0 and "0" must mean the same."""
    return int(column) if isinstance(column, str) and POSITION.fullmatch(column) else column


@dataclass(frozen=True)
class Described:
    """Says in words what a value must be, where its type alone does not."""

    kind: str


def _label(value: Any) -> Any:
    """Converts what YAML takes for a number or a switch back to text: a label may be called 1 or true. Labels have no
    spaces around them (see `lib.data.messages.labels`)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).strip() if isinstance(value, str | int | float) else value


Label = Annotated[str, Field(min_length=1), BeforeValidator(_label)]


Column = Annotated[str | Annotated[int, Field(ge=0)], BeforeValidator(_position)]
TextColumn = Annotated[
    Column, Field(description="the column with the texts: its name, or its position (from 0) in a file without header")
]
Quoting = Annotated[
    Literal["none", "csv", "backslash"] | None,
    Field(
        description="whether double quotes in TSV and CSV enclose fields, with doubled quotes (csv) or backslashes"
        " before quotes (backslash) inside, or are part of the text (none) (null: found out)"
    ),
]
SEPARATOR_NAMES = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " ", "\\t": "\t"}


def _separator(given: Any) -> Any:
    """Converts a name to the character: a tab is hard to type on a command line."""
    return SEPARATOR_NAMES.get(given, given) if isinstance(given, str) else given


def _known_encoding(name: str) -> str:
    """Refuses what Python knows no encoding of texts by."""
    try:
        "".encode(name)
    except LookupError:
        raise ValueError(f"there is no encoding {name!r}: name one such as utf-8, cp1252 or utf-16") from None
    return name


FileFormat = Literal["tsv", "csv", "jsonl", "parquet"] | None
Separator = Annotated[
    Annotated[str, Field(min_length=1, max_length=1)] | None,
    BeforeValidator(_separator),
    Field(description="what separates the fields in TSV and CSV: a character, or tab (null: found out)"),
]
TextEncoding = Annotated[
    Annotated[Text, AfterValidator(_known_encoding)] | None,
    Field(description="how the bytes of a text file are characters: utf-8, cp1252, utf-16, … (null: found out)"),
]
Sheet = Annotated[Text | None, Field(description="the sheet of a workbook (null: the first that has anything in it)")]
BadRows = Annotated[
    Literal["error", "drop"],
    Field(
        description="what to do with a row that cannot be read, such as one with another number of fields: refuse the"
        " file, or leave the row out"
    ),
]


class Section(BaseModel):
    """One group of a recipe's fields: immutable, and closed to fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_no_switches(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic would read `epochs: yes` as 1.
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and bool not in (kind, *get_args(kind)) and Label not in (kind, *get_args(kind)):
            raise PydanticCustomError("switch", "true and false are no values of this field")
        return value

    def changed(self, *names: str) -> list[str]:
        """Returns those of the fields whose value is not the default."""
        return [name for name in names if getattr(self, name) != type(self).model_fields[name].default]


SeveralFiles = Place | Annotated[tuple[Place, ...], Field(min_length=1)] | None  # or splits


class Source(Section):
    """Where a run's file comes from."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]]  # each source's default fields
    bundled: ClassVar[str]  # the bundled sample of the source `sample`
    ending_counts: ClassVar[bool] = True  # whether the ending of a file's name tells what its contents do not

    source: str = Field(default="file", description="a known source, or your own file at `data.url`")
    url: Place | Annotated[tuple[Place, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="https://, file:// or a path, also that of a folder or a pattern, whose files are all read; of"
        " a list, which is of places of the same file, the first that answers; ${NAME} in it stands for a variable of"
        " the environment or a Secret block of Prefect (null: the source's own address)",
    )
    sha256: str | None = Field(
        default=None,
        pattern=SHA256,
        description="checksum of the data file, after unpacking (null: the source's own, or not checked)",
    )
    repository: Annotated[str, Field(pattern=REPOSITORY)] | None = Field(
        default=None,
        description="with the source hub: a data set's repository on a Hugging Face hub, `owner/name`",
    )
    configuration: Text | None = Field(
        default=None, description="with the source hub: which of its configurations (null: the only or default one)"
    )
    revision: Text | None = Field(
        default=None,
        description="with the source hub: a commit, a tag or a branch (null: the main branch, or that of the hub's"
        " Parquet files where it has no data files)",
    )
    member: Text | None = Field(
        default=None, description="the file inside an archive, zip or tar (null: the only one, or the source's own)"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_source(cls, given: Any) -> Any:
        """Fills missing and null fields from the source's preset."""
        if not isinstance(given, Mapping):
            return given
        preset = cls.presets.get(str(given.get("source", "file")), {})
        return {**preset, **{name: value for name, value in given.items() if value is not None or name not in preset}}

    def given_files(self) -> dict[str, tuple[str, ...]]:
        """Returns what `data.files` names for each split, in the order train, validation, test; nothing where it is not
        used. What is to be divided is all in train."""
        return {}

    @model_validator(mode="after")
    def _file_has_a_place(self) -> Source:
        if self.source == "file" and self.url is None and not self.given_files():
            raise ValueError("data.url is missing: say where the file is, or name another data.source than 'file'")
        return self

    @model_validator(mode="after")
    def _hub_has_a_repository(self) -> Source:
        if self.source == HUB:
            if self.repository is None:
                raise ValueError("data.repository is missing: name the data set on the hub, as owner/name")
            others = [name for name in ("url", "member", "sha256") if getattr(self, name) is not None]
            others += ["files"] if self.given_files() else []
            if others:
                raise ValueError(
                    f"data.{others[0]} is about files elsewhere, but data.source is {HUB!r}: leave one of them out"
                )
            return self
        for name in ("repository", "configuration", "revision"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"data.{name} is about a data set on a hub, but data.source is {self.source!r}: set it to {HUB!r}"
                )
        return self

    @model_validator(mode="after")
    def _files_are_the_only_source(self) -> Source:
        if not self.given_files():
            return self
        if self.source != "file":
            raise ValueError(
                f"data.files names files of your own, but data.source is {self.source!r}: set it to 'file', or leave"
                " data.files out"
            )
        if self.url is not None:
            raise ValueError("data.url and data.files both say where the texts are: leave one of them out")
        for name in ("sha256", "member"):
            if getattr(self, name) is not None:
                raise ValueError(f"data.{name} is about the one file of data.url: leave it out with data.files")
        return self


class Encoding(Section):
    """How texts become tokens."""

    max_length: int | None = Field(
        default=None,
        ge=1,
        description="tokens kept of each message, special ones included (null: as many as the longest training message"
        " has)",
    )


def says_its_shape(weights: Any) -> bool:
    """Whether `model.size` has nothing to add to `model.weights`."""
    return isinstance(weights, str) and weights not in ("", "scratch") and not weights.endswith(".safetensors")


class Model(Section):
    """The backbone: the network before the classifier's head."""

    size: Size = "tiny"
    weights: Weights = "scratch"
    revision: Text | None = Field(
        default=None,
        description="which state of a repository: a commit, a tag or a branch (null: for openai-community/gpt2 and its"
        " larger sisters the commit that is known here, otherwise the main branch)",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="probability of dropping an activation while training")
    seed: Seed = Field(default=123, description="seed of weights made from scratch")
    causal_mask: bool = Field(
        default=True,
        description="let each position see only itself and those before it, as GPT-2 was trained; false: all of them",
    )

    @model_validator(mode="before")
    @classmethod
    def _size_is_that_of_the_weights(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "size" not in given and says_its_shape(given.get("weights")):
            return {**given, "size": "from-weights"}
        return given

    @model_validator(mode="after")
    def _size_is_known(self) -> Model:
        if self.size == "from-weights" and self.weights == "scratch":
            raise ValueError("model.size is 'from-weights', but model.weights is 'scratch': name a folder or a size")
        return self

    @model_validator(mode="after")
    def _weights_are_known(self) -> Model:
        openai = self.weights.startswith("openai:")
        if openai and self.weights not in OPENAI_SIZES:
            raise ValueError(f"model.weights is {self.weights!r}: OpenAI's are {', '.join(OPENAI_SIZES)}")
        if openai and self.size not in ("from-weights", OPENAI_SIZES[self.weights]):
            raise ValueError(
                f"model.size is {self.size!r}, but model.weights {self.weights!r} has the shape of"
                f" {OPENAI_SIZES[self.weights]!r}: set model.size to that, or to 'from-weights'"
            )
        if self.revision is not None and (openai or self.weights == "scratch"):
            raise ValueError(
                f"model.revision is {self.revision!r}, but model.weights {self.weights!r} is no repository on a hub:"
                " leave it out"
            )
        return self


class Lora(Section):
    """Low-rank adapters (Hu et al. 2021) for `trainable` lora, merged into the weights at the end."""

    rank: int = Field(default=8, ge=1, description="inner width of an adapter: each is a product of two matrices")
    alpha: float = Field(default=8.0, gt=0, description="an adapter's output is multiplied by alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="probability of dropping an input of an adapter")
    layers: Annotated[tuple[Text, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="the linear layers of a block that get one, such as attention.qkv of GPT-2 or q_proj of Llama"
        " (null: all of them)",
    )
    blocks: int | None = Field(default=None, ge=1, description="the last so many blocks that get them (null: all)")


def check_adapters(lora: Lora, field: str, trainable: str) -> None:
    """Raises ValueError if a recipe describes adapters but its `field` trains something else."""
    if lora != type(lora)() and trainable != "lora":
        raise ValueError(
            f"lora describes adapters, but {field} is {trainable!r}, which has none: set it to 'lora', or leave the"
            " fields of lora out"
        )


class Optimisation(Section):
    """The optimisation."""

    epochs: Epochs = 5
    batch_size: int = Field(default=8, ge=1, description="messages or entries a batch, of each process")
    processes: int = Field(
        default=1,
        ge=1,
        le=4096,
        description="how many processes train together, in step: their batches count as one, which is so many times as"
        " large; on CUDA each has a card of its own",
    )
    sharding: Literal["none", "full"] = Field(
        default="none",
        description="of several processes: none: each has the whole model; full: each has its part of the weights, of"
        " the gradients and of the optimizer's moments (FSDP), for a model that does not fit into one card",
    )
    learning_rate: float = Field(default=5e-5, gt=0, description="AdamW's, after warm-up")
    weight_decay: float = Field(default=0.1, ge=0, description="AdamW's")
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="the learning rate after warm-up: unchanged, or a half cosine down to zero"
    )
    warmup_steps: int = Field(
        default=0, ge=0, description="optimizer steps over which the learning rate rises linearly"
    )
    gradient_clip: float | None = Field(
        default=None, gt=0, description="largest norm of all gradients together (null: not clipped)"
    )
    gradient_accumulation: int = Field(default=1, ge=1, description="batches whose gradients make one optimizer step")
    seed: Seed = Field(
        default=123, description="seed of what begins at random, of the order of the batches and of dropout"
    )
    evaluate_every: EvaluateEvery = 50
    evaluate_batches: int | None = Field(
        default=5, ge=1, description="batches of each split that an evaluation looks at (null: all of them)"
    )
    checkpoint_every: CheckpointEvery = 500
    keep: Literal["last", "best"] = Field(
        default="last", description="the weights after the last step, or those with the lowest validation loss"
    )
    patience: int | None = Field(
        default=None, ge=1, description="stop after so many epochs without a lower validation loss (null: never)"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="arithmetic of the matrix products"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: a CUDA device where there is one")
    published_figures: bool = Field(
        default=False,
        description="also measure what the published procedure prints before the first step and after the last one",
    )

    @model_validator(mode="after")
    def _published_figures_are_of_one_process(self) -> Optimisation:
        if self.published_figures and self.processes > 1:
            raise ValueError(
                f"training.published_figures is true, and training.processes is {self.processes}: the published"
                " procedure has one process, so set that to 1, or leave those figures out"
            )
        return self

    @model_validator(mode="after")
    def _several_processes_have_parts(self) -> Optimisation:
        if self.sharding == "full" and self.processes == 1:
            raise ValueError(
                "training.sharding is 'full', and training.processes is 1, which would have all of the model: raise"
                " that, or set training.sharding to none"
            )
        return self


class Registry(Section):
    """Where the model goes in MLflow's registry."""

    name: RegisteredName = Field(  # null in no recipe: see Recipe
        default=None,  # type: ignore[assignment]
        description="the registered model's name (null: the recipe's name)",
    )


class Recipe(Section):
    """All of a run: what it is called, and a section for each group of fields, `registry` among them."""

    name: Text = Field(default="custom", description="what runs of this recipe are called (left out: the file's name)")

    def require_extras(self) -> None:
        """Raises ExtraError if this recipe needs a package that is not installed; a run calls it first."""

    @model_validator(mode="before")
    @classmethod
    def _registered_by_its_own_name(cls, given: Any) -> Any:
        """Defaults `registry.name` to the recipe's name, so that recipes share a registered name only on purpose."""
        if not isinstance(given, Mapping):
            return given
        name, registry = given.get("name", cls.model_fields["name"].default), given.get("registry", {})
        if not isinstance(name, str) or not isinstance(registry, Mapping) or registry.get("name") is not None:
            return given
        if name and not re.search(REGISTERED_NAME, name):
            raise ValueError(
                f"name is {name!r}, which cannot name a registered model, which has {PATTERNS[REGISTERED_NAME]}:"
                " set registry.name, or choose another name"
            )
        return {**given, "registry": {**registry, "name": name}}
