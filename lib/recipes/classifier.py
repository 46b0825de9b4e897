"""The sections of a classifier's recipe: every field with its unit and default, and what contradicts itself in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from lib.recipes.fields import MAPPING, either
from lib.recipes.sections import (
    Column,
    Confidence,
    Described,
    Encoding,
    Label,
    Lora,
    Loss,
    Optimisation,
    PublishedWeights,
    Registry,
    Section,
    Seed,
    Share,
)
from lib.text.long_texts import FIELDS, HEAD_SHARE, MOST_WINDOWS, Method, WindowPooling

SUM_TOLERANCE = 1e-6  # 0.7 + 0.1 + 0.2 is 0.9999999999999999 in binary floating point


class Balance(Section):
    """What is done about classes of unequal size."""

    method: Literal["undersample", "oversample", "class_weights", "none"] = Field(
        default="none",
        description="draw as many of each class as the smallest has, repeat the smaller classes' training"
        " messages, weigh the loss by inverse class frequency, or leave as is",
    )
    seed: Seed = Field(default=123, description="seed of the drawing")


def _names_of_splits(given: Any) -> Any:
    """Converts one value to a list of one."""
    if not isinstance(given, Mapping):
        return given
    return {split: [each] if isinstance(each, str | int | float) else each for split, each in given.items()}


SplitNames = Annotated[
    dict[Literal["train", "validation", "test"], Annotated[tuple[Label, ...], Field(min_length=1)]] | None,
    BeforeValidator(_names_of_splits),
    Described(f"{MAPPING}split: [value, …]}} or null"),
]


class Split(Section):
    """How messages are divided into train, validation and test. Splits that `data.files` gives are not divided: what is
    missing is split off train, in the proportion of the fractions of both."""

    method: Literal["published", "hashed"] = Field(
        default="published",
        description="published: the messages are shuffled in memory and divided by their number; hashed: a hash of what"
        " a message says decides, so that a row that comes or goes moves no other, and there may be millions of them",
    )
    train: float = Field(default=0.7, gt=0, lt=1, description="fraction of the messages to train on")
    validation: float = Field(default=0.1, gt=0, lt=1, description="fraction to choose the best epoch by")
    test: float = Field(default=0.2, gt=0, lt=1, description="fraction that only the final figures see")
    seed: Seed = Field(default=123, description="seed of the shuffle, or of the hash")
    stratify: bool = Field(
        default=True,
        description="give each split the same share of each class; with the method hashed that holds as it does for a"
        " draw",
    )
    group_duplicates: bool = Field(
        default=True, description="keep texts that differ only in case, digits, punctuation or space in one split"
    )
    near_duplicates: Literal["keep", "drop_from_train"] = Field(
        default="keep",
        description="messages of train with such a near-duplicate in a given validation or test split: count them, or"
        " leave them out of train",
    )
    column: Column | None = Field(
        default=None,
        description="the column of the file that says to which split a row belongs: train, validation (val, dev) or"
        " test, in any case; what is missing is split off train (null: rows are divided)",
    )
    names: SplitNames = Field(
        default=None,
        description="what the splits are called in that column, {split: [value, …]}; rows with other values are left"
        " out (null: as above)",
    )

    @model_validator(mode="after")
    def _fractions_sum_to_one(self) -> Split:
        total = self.train + self.validation + self.test
        if abs(total - 1) > SUM_TOLERANCE:
            raise ValueError(
                f"split.train + split.validation + split.test is {total:g}: the three fractions must sum to 1"
            )
        return self

    @model_validator(mode="after")
    def _a_hash_groups_duplicates(self) -> Split:
        if self.method == "hashed" and not self.group_duplicates:
            raise ValueError(
                "split.method hashed keeps near-duplicates in one split, because they have one hash: set"
                " split.group_duplicates to true, or split.method to published"
            )
        return self

    @model_validator(mode="after")
    def _names_have_a_column(self) -> Split:
        if self.names is not None and self.column is None:
            raise ValueError("split.names says what splits are called in a column: name it as split.column")
        return self


class ClassifierEncoding(Encoding):
    """How texts become tokens, and what is read of a text that has more of them than `encoding.max_length`."""

    max_length: int | None = Field(
        default=None,
        ge=1,
        description="the most tokens of a row, which is what the network reads at once, special ones included (null: as"
        " many as the longest training message has, unless that one is far longer than the others)",
    )
    long_texts: Method = Field(
        default="cut_end",
        description="what is read of a longer text: its beginning; its beginning and its end; or all of it, as several"
        " rows (windows) whose logits are pooled, in the training and wherever the classifier answers",
    )
    head_share: float = Field(
        default=HEAD_SHARE,
        gt=0,
        lt=1,
        description="with head_and_tail, the share of the tokens kept that is the text's beginning; the others are its"
        " end",
    )
    overlap: int | None = Field(
        default=None,
        ge=0,
        description="with windows, tokens that each shares with the one before it (null: an eighth of"
        " `encoding.max_length`)",
    )
    window_pooling: WindowPooling = Field(
        default="mean",
        description="with windows, whether a text's logits are the mean of those of its windows, or for each label"
        " their maximum",
    )
    most_windows: int = Field(
        default=MOST_WINDOWS,
        ge=2,
        description="with windows, how many are read of one text; of a text with more, they are chosen evenly, the"
        " first and the last among them",
    )

    @model_validator(mode="after")
    def _long_texts_are_read_in_one_way(self) -> ClassifierEncoding:
        for method, fields in FIELDS.items():
            for name in self.changed(*fields) if method != self.long_texts else ():
                raise ValueError(
                    f"encoding.{name} is {getattr(self, name)!r}, which only encoding.long_texts {method!r} reads, and"
                    f" that is {self.long_texts!r}: change it, or leave encoding.{name} out"
                )
        return self

    @model_validator(mode="after")
    def _windows_go_on(self) -> ClassifierEncoding:
        if self.max_length is not None and self.overlap is not None and self.overlap >= self.max_length:
            raise ValueError(
                f"encoding.overlap is {self.overlap}, and windows of encoding.max_length {self.max_length} tokens would"
                " never reach the end of a text: choose less, or leave it out"
            )
        return self


class Classifier(Section):
    """The head on the backbone, and which part of both learns."""

    trainable: Literal["head", "last_block", "last_two_blocks", "all", "lora"] = Field(
        default="all",
        description="which part learns: the head; with the last norm and the last block or two; everything; or the"
        " head and small matrices beside those of the backbone (see `lora`)",
    )
    head: Literal["new", "keep"] = Field(
        default="new",
        description="the last layer: begin with random numbers, or go on with that of `model.weights`, a classifier of"
        " the same labels",
    )
    pooling: Literal["auto", "last_token", "padded_last", "first_token", "cls", "mean"] = Field(
        default="auto",
        description="what feeds the head: what the network was trained for (auto: cls of an encoder with such a token,"
        " last_token of a decoder); the last real token; the last position, padding or not; the first token; the [CLS]"
        " token with the layers that the family's own classifier has on it; or the mean over real tokens",
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


class ClassifierLora(Lora):
    """Low-rank adapters (Hu et al. 2021) for `trainable` lora, merged into the weights at the end."""

    keep: bool = Field(
        default=False, description="also keep them beside the merged weights, in peft's format, in the folder `adapter`"
    )


class Training(Optimisation):
    """The optimisation."""

    ignore_index: int | None = Field(
        default=None, description="a class, by its number, whose messages do not count in the loss (null: none)"
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


Goal = Literal["f1", "false_positive_rate", "cost"]
Cost = Annotated[float, Field(gt=0)]
OF_A_GOAL: Mapping[Goal, tuple[str, ...]] = {  # the fields that only this goal reads
    "false_positive_rate": ("largest_false_positive_rate",),
    "cost": ("false_positive_cost", "false_negative_cost"),
}


class Evaluation(Section):
    """What the final figures contain."""

    baseline: bool = Field(
        default=True, description="fit TF-IDF with logistic regression on the same split, to compare"
    )
    natural_prevalence: bool = Field(
        default=True,
        description="also estimate the figures at the class shares of a given test split, or else of the source,"
        " using the reserve",
    )
    slices: Column | None = Field(
        default=None,
        description="a column of the source, such as a channel or a language: the classifier is also measured on the"
        " test messages of each of its most frequent values, beside long and short ones, those with links and so on"
        " (null: no column)",
    )
    confidence: Confidence = 0.95
    positive_label: Label | None = Field(
        default=None,
        description="of two classes, the one that precision and recall are about (null: the last one, which without"
        " `data.labels` is that in alphabetical order); a label called null needs quotes",
    )
    threshold: Literal["auto"] | Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.5,
        description="of two classes, the positive label is given from this probability on, in the final figures and in"
        " every later answer (0.5: the more probable label is given; auto: the one that serves `evaluation.goal` best"
        " on validation messages)",
    )
    goal: Goal = Field(
        default="f1",
        description="with threshold auto, what it is to achieve: the largest F1 of the positive label; the largest"
        " recall that keeps to `evaluation.largest_false_positive_rate`; or the least cost of wrong labels",
    )
    largest_false_positive_rate: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.01,
        description="with goal false_positive_rate, the largest share of the validation messages of the other label"
        " that may get the positive one",
    )
    false_positive_cost: Cost = Field(
        default=1.0,
        description="with goal cost, what a message costs that wrongly gets the positive label, in any unit",
    )
    false_negative_cost: Cost = Field(
        default=1.0, description="with goal cost, what a message costs that wrongly does not get it, in the same unit"
    )
    calibrate: bool = Field(
        default=False,
        description="divide the logits by a temperature that is fitted on validation messages, in the final figures and"
        " in every later answer, so that of answers with 90 % nine in ten are right; the most probable label stays",
    )
    folds: int | None = Field(
        default=None,
        ge=2,
        le=20,
        description="also divide the messages of all splits into so many parts, train the classifier without each, as"
        " often, and measure it on that part: mean and spread of its accuracy beside that of the test split, which"
        " stays as it is; for small data (null: only the labels are doubted, by something cheaper)",
    )

    @model_validator(mode="after")
    def _a_goal_chooses_the_threshold(self) -> Evaluation:
        if self.threshold != "auto" and self.goal != "f1":
            raise ValueError(
                f"evaluation.goal is {self.goal!r}, but evaluation.threshold {self.threshold:g} leaves nothing to"
                " choose: set evaluation.threshold to 'auto', or leave evaluation.goal out"
            )
        for goal, fields in OF_A_GOAL.items():
            for name in self.changed(*fields) if goal != self.goal else ():
                raise ValueError(
                    f"evaluation.{name} is {getattr(self, name):g}, which only evaluation.goal {goal!r} reads, and that"
                    f" is {self.goal!r}: change it, or leave evaluation.{name} out"
                )
        return self


PRECISIONS = {"torch": ("auto", "float32", "bfloat16"), "onnxruntime": ("auto", "float32", "int8")}  # by engine


class Serving(Section):
    """What computes the classifier once it is trained: in the final figures, in `predict`, `score` and `serve`. Of what
    is left to `auto`, candidates are measured on the validation split and on this machine."""

    engine: Literal["auto", "torch", "onnxruntime"] = Field(
        default="auto",
        description="torch; ONNX Runtime, which is faster on a CPU (extra `onnx`); or the faster one here (auto: torch"
        " where there is a GPU, where ONNX Runtime is not installed, and for what cannot be exported)",
    )
    precision: Literal["auto", "float32", "bfloat16", "int8"] = Field(
        default="auto",
        description="arithmetic of the matrix products: bfloat16 is torch's, int8 ONNX Runtime's; auto: the fastest of"
        " those whose labels agree with float32",
    )
    largest_flip_share: Share = Field(
        default=0.001,
        description="the largest share of validation messages to which a candidate may give another label than float32"
        " does",
    )

    @model_validator(mode="after")
    def _the_engine_has_the_precision(self) -> Serving:
        if self.engine != "auto" and self.precision not in PRECISIONS[self.engine]:
            other = next(engine for engine, precisions in PRECISIONS.items() if self.precision in precisions)
            raise ValueError(
                f"serving.precision is {self.precision!r}, which serving.engine {self.engine!r} does not have: choose"
                f" engine {other!r}, or precision {either(PRECISIONS[self.engine])}"
            )
        return self

    @model_validator(mode="after")
    def _flips_are_counted(self) -> Serving:
        if self.is_named and self.changed("largest_flip_share"):
            raise ValueError(
                f"serving.largest_flip_share is {self.largest_flip_share:g}, but engine {self.engine!r} with precision"
                f" {self.precision!r} leaves nothing to choose: set one of them to 'auto', or leave that field out"
            )
        return self

    @property
    def is_named(self) -> bool:
        """Whether engine and precision leave nothing to measure; in int8 there are several candidates."""
        return self.precision == "bfloat16" or (self.precision == "float32" and self.engine != "auto")


class ClassifierRegistry(Registry):
    """Where the classifier goes in MLflow's registry, and when it becomes the champion there. Every version of a name
    is measured on the same frozen test set: that of the first run under the name."""

    promote: Literal["better", "never"] = Field(
        default="better",
        description="make a new version the champion if it is better than the present one on the frozen test set, or"
        " only register it",
    )
    significance: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="with promote better, the largest p-value of the paired test (McNemar's) at which a version counts"
        " as better",
    )
    max_false_positive_increase: Share = Field(
        default=0.0,
        description="with promote better, how much higher than the champion's the false-positive rate may be (0.01: one"
        " percentage point)",
    )

    @model_validator(mode="after")
    def _gate_is_used(self) -> ClassifierRegistry:
        changed = self.changed("significance", "max_false_positive_increase")
        if self.promote == "never" and changed:
            raise ValueError(
                f"registry.{changed[0]} is {getattr(self, changed[0]):g}, but registry.promote is 'never', which"
                " compares nothing: set it to 'better', or leave that field out"
            )
        return self


ThreeShares = tuple[Share, Share, Share]
ThreeLosses = tuple[Loss, Loss, Loss]


class Published(Section):
    """Published figures of train, validation and test, which a run prints beside its own; no step reads them."""

    weights: PublishedWeights = None
    before_accuracy: ThreeShares | None = Field(default=None, description="before the first step, from 0 to 1")
    before_loss: ThreeLosses | None = Field(default=None, description="before the first step, in nats")
    after_accuracy: ThreeShares | None = Field(default=None, description="after the last step, from 0 to 1")
