"""Typed recipes: every knob of a run, with its unit, its default and what it conflicts with.

Here belong the fields and their checks. Reading them from YAML and the command line is in `lib.recipe_file`; what a
field does lives with the code that does it. Functions in `lib` take plain values, never a recipe.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

SUM_TOLERANCE = 1e-6  # 0.7 + 0.1 + 0.2 is 0.9999999999999999 in binary floating point

# What each source is, so that a recipe need only name it; what a recipe says itself wins.
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

# The sizes of OpenAI's own files, by what model.weights calls them.
OPENAI_SIZES = {
    "openai:124M": "gpt2-small",
    "openai:355M": "gpt2-medium",
    "openai:774M": "gpt2-large",
    "openai:1558M": "gpt2-xl",
}

SHA256 = r"^[0-9a-f]{64}$"
# What MLflow accepts as a name, and in the filters that look for it.
REGISTERED_NAME = r"^[^/:'\"\\]+$"
PATTERNS = {  # in words
    SHA256: "64 digits from 0-9 and a-f",
    REGISTERED_NAME: "text without slashes, colons and quotes",
}
POSITION = re.compile(r"[0-9]{1,9}")
Text = Annotated[str, Field(min_length=1)]
Column = str | Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy's and torch's generators both accept
Share = Annotated[float, Field(ge=0, le=1)]
Loss = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """One group of a recipe's fields: immutable, and closed to fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_no_switches(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic would read `epochs: yes` as 1.
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise PydanticCustomError("switch", "true and false are no values of this field")
        return value


def filled_from_source(given: Any, presets: Mapping[str, Mapping[str, Any]]) -> Any:
    """A data section's values with those of its `source` where it leaves them out or says null."""
    if not isinstance(given, Mapping):
        return given
    preset = presets.get(str(given.get("source", "file")), {})
    return {**preset, **{name: value for name, value in given.items() if value is not None or name not in preset}}


class Data(Section):
    """Where the labelled texts come from and how their file is written."""

    source: Literal["sample", "sms-spam", "file"] = Field(
        default="file", description="the bundled sample, the SMS Spam Collection, or your own file at `data.url`"
    )
    url: Text | Annotated[tuple[Text, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="https://, file:// or a path; of several, the first that answers is used"
        " (null: the source's own address)",
    )
    sha256: str | None = Field(
        default=None,
        pattern=SHA256,
        description="checksum of the data file, after unpacking (null: the source's own, or not checked)",
    )
    member: Text | None = Field(
        default=None, description="the file inside a zip archive (null: the only one, or the source's own)"
    )
    format: Literal["tsv", "csv", "jsonl", "parquet"] | None = Field(
        default=None, description="how the file is written (null: by the ending of its name)"
    )
    text_column: Column = Field(
        default="text",
        description="the column with the texts: its name, or its position (from 0) in a file without header",
    )
    label_column: Column = Field(
        default="label", description="the column with the labels: its name, or its position in a file without header"
    )
    quoting: Literal["none", "csv"] = Field(
        default="csv",
        description="whether double quotes in TSV and CSV enclose fields (csv) or are part of the text (none)",
    )
    empty_text: Literal["error", "drop"] = Field(
        default="error",
        description="what to do with a row whose text is empty: refuse the file, or leave the row out",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_source(cls, given: Any) -> Any:
        return filled_from_source(given, PRESETS)

    @field_validator("text_column", "label_column", mode="before")
    @classmethod
    def _digits_are_a_position(cls, column: Any) -> Any:
        # On the command line everything is text, so 0 and "0" must mean the same.
        return int(column) if isinstance(column, str) and POSITION.fullmatch(column) else column

    @model_validator(mode="after")
    def _columns_agree(self) -> Data:
        if self.source == "file" and self.url is None:
            raise ValueError("data.url is missing: say where the file is, or name another data.source than 'file'")
        if isinstance(self.text_column, int) != isinstance(self.label_column, int):
            raise ValueError(
                "data.text_column and data.label_column must both be names (a file with a header row)"
                " or both positions (a file without one)"
            )
        if self.text_column == self.label_column:
            raise ValueError("data.text_column and data.label_column are the same column: name two")
        return self


class Balance(Section):
    """What is done about classes of unequal size."""

    method: Literal["undersample", "oversample", "class_weights", "none"] = Field(
        default="none",
        description="draw as many of each class as the smallest has, repeat the smaller classes' training"
        " messages, weigh the loss by inverse class frequency, or leave as is",
    )
    seed: Seed = Field(default=123, description="seed of the drawing")


class Split(Section):
    """How messages are divided into train, validation and test."""

    train: float = Field(default=0.7, gt=0, lt=1, description="fraction of the messages to train on")
    validation: float = Field(default=0.1, gt=0, lt=1, description="fraction to choose the best epoch by")
    test: float = Field(default=0.2, gt=0, lt=1, description="fraction that only the final figures see")
    seed: Seed = Field(default=123, description="seed of the shuffle")
    stratify: bool = Field(default=True, description="give each split the same share of each class")
    group_duplicates: bool = Field(
        default=True, description="keep texts that differ only in case, digits, punctuation or space in one split"
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

    name: Literal["gpt2"] = Field(default="gpt2", description="tiktoken's name of the encoding")
    max_length: int | None = Field(
        default=None,
        ge=1,
        description="tokens kept of each message (null: as many as the longest training message has)",
    )


class Model(Section):
    """The backbone: the GPT before its classifier head."""

    size: Literal["tiny", "gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl", "from-weights"] = Field(
        default="tiny", description="the shape of the GPT; from-weights: whatever `model.weights` has"
    )
    weights: Text = Field(
        default="scratch",
        description="scratch (random numbers from `model.seed`); a local folder in Hugging Face layout or with OpenAI's"
        " checkpoint; a .safetensors file; a repository on a Hugging Face hub, `owner/name`; or OpenAI's own files,"
        " openai:124M, openai:355M, openai:774M or openai:1558M",
    )
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


class Classifier(Section):
    """The head on the backbone, and which part of both learns."""

    trainable: Literal["head", "last_block", "last_two_blocks", "all", "lora"] = Field(
        default="all",
        description="which part learns: the head; with the last norm and the last block or two; everything; or the"
        " head and small matrices beside those of the backbone (see `lora`)",
    )
    pooling: Literal["last_token", "padded_last", "first_token", "mean"] = Field(
        default="last_token",
        description="which position feeds the head: the last real token, the last position (padding or not), the"
        " first, or the mean over real tokens",
    )
    padding: Literal["batch", "longest", "context"] | Annotated[int, Field(ge=1)] = Field(
        default="batch",
        description="pad to the longest of each batch, with batches sorted by length; to `encoding.max_length`; to"
        " all that the model can see; or to a number of tokens",
    )

    @model_validator(mode="after")
    def _answers_do_not_depend_on_neighbours(self) -> Classifier:
        if self.pooling == "padded_last" and self.padding == "batch":
            raise ValueError(
                "classifier.pooling 'padded_last' with classifier.padding 'batch' would let a message's answer depend"
                " on the other messages of its batch: choose pooling 'last_token', or padding 'longest' or a number"
            )
        return self


LinearLayer = Literal["attention.qkv", "attention.projection", "mlp.expansion", "mlp.projection"]


class Lora(Section):
    """Low-rank adapters (Hu et al. 2021), with `classifier.trainable` lora. They are merged into the weights at the
    end."""

    rank: int = Field(default=8, ge=1, description="inner width of an adapter: each is a product of two matrices")
    alpha: float = Field(default=8.0, gt=0, description="an adapter's output is multiplied by alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="probability of dropping an input of an adapter")
    layers: Annotated[tuple[LinearLayer, ...], Field(min_length=1)] = Field(
        default=("attention.qkv", "attention.projection", "mlp.expansion", "mlp.projection"),
        description="the linear layers of a block that get one",
    )
    blocks: int | None = Field(default=None, ge=1, description="the last so many blocks that get them (null: all)")


class Training(Section):
    """The optimisation."""

    epochs: int = Field(default=5, ge=1, description="passes over the training messages")
    batch_size: int = Field(default=8, ge=1, description="messages a batch")
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
    seed: Seed = Field(default=123, description="seed of the head, the order of messages and dropout")
    evaluate_every: int = Field(default=50, ge=1, description="batches between two evaluations")
    evaluate_batches: int | None = Field(
        default=5, ge=1, description="batches of each split that an evaluation looks at (null: all of them)"
    )
    checkpoint_every: int = Field(
        default=500, ge=1, description="batches between two checkpoints that a killed run resumes"
    )
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
    ignore_index: int | None = Field(
        default=None, description="a class, by its number, whose messages do not count in the loss (null: none)"
    )
    published_figures: bool = Field(
        default=False,
        description="also measure what the published procedure prints before the first step and after the last one",
    )
    feature_cache: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="run the frozen part of the backbone once for each message and keep what comes out: where that is"
        " possible and fits the budget (auto), always, or never",
    )
    feature_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="what is kept (auto: bfloat16 on a GPU or with that precision, otherwise float32)"
    )
    feature_budget: float = Field(
        default=20.0, gt=0, description="GiB of disk that the kept features of a run may take with feature_cache auto"
    )


class Evaluation(Section):
    """What the final figures contain."""

    baseline: bool = Field(
        default=True, description="fit TF-IDF with logistic regression on the same split, to compare"
    )
    natural_prevalence: bool = Field(
        default=True, description="also estimate the figures at the source file's own class shares, using the reserve"
    )
    confidence: float = Field(default=0.95, gt=0, lt=1, description="level of the confidence intervals")
    positive_label: str | None = Field(
        default=None,
        description="of two classes, the one that precision and recall are about (null: the last in alphabetical"
        " order)",
    )


class Registry(Section):
    """Where the classifier goes in MLflow's registry."""

    name: str = Field(default="text-classifier", pattern=REGISTERED_NAME, description="the registered model's name")


ThreeShares = tuple[Share, Share, Share]
ThreeLosses = tuple[Loss, Loss, Loss]


class Published(Section):
    """What was published for a recipe, of train, validation and test each; a run prints its own figures beside it.

    No step reads it.
    """

    weights: Annotated[tuple[Text, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="what identifies the weights that it was measured with: checksums or a revision, as the backbone's"
        " manifest has them (null: nothing was published)",
    )
    before_accuracy: ThreeShares | None = Field(default=None, description="before the first step, from 0 to 1")
    before_loss: ThreeLosses | None = Field(default=None, description="before the first step, in nats")
    after_accuracy: ThreeShares | None = Field(default=None, description="after the last step, from 0 to 1")


class ClassifyRecipe(Section):
    """All of a run that fine-tunes a classifier."""

    name: Text = Field(default="custom", description="what runs of this recipe are called")
    data: Data
    balance: Balance = Balance()
    split: Split = Split()
    encoding: Encoding = Encoding()
    model: Model = Model()
    classifier: Classifier = Classifier()
    lora: Lora = Lora()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    published: Published = Published()
    registry: Registry = Registry()

    @model_validator(mode="after")
    def _adapters_are_used(self) -> ClassifyRecipe:
        if self.lora != Lora() and self.classifier.trainable != "lora":
            raise ValueError(
                f"lora describes adapters, but classifier.trainable is {self.classifier.trainable!r}, which has none:"
                " set it to 'lora', or leave the fields of lora out"
            )
        return self

    @model_validator(mode="after")
    def _features_can_be_kept(self) -> ClassifyRecipe:
        changing = {
            "classifier.trainable": self.classifier.trainable == "all",
            "lora.blocks": self.classifier.trainable == "lora" and self.lora.blocks is None,
            "classifier.pooling": self.classifier.pooling == "padded_last",
            "model.dropout": self.model.dropout > 0,
        }
        if self.training.feature_cache == "on" and any(changing.values()):
            field = next(field for field, conflicts in changing.items() if conflicts)
            section, name = field.split(".")
            raise ValueError(
                f"training.feature_cache is 'on', but with {field} {getattr(getattr(self, section), name)!r} there is"
                " nothing that stays the same between epochs for every real token: choose 'auto', or change that field"
            )
        return self

    @model_validator(mode="after")
    def _published_figures_have_published_batches(self) -> ClassifyRecipe:
        if self.training.published_figures and self.classifier.padding == "batch":
            raise ValueError(
                "training.published_figures is true, and with classifier.padding 'batch' the batches are not the"
                " published ones: choose padding 'longest', or leave those figures out"
            )
        return self
