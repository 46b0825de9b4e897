"""The recipe of a classifier: its sections, and what contradicts itself between them."""

from __future__ import annotations

from pydantic import model_validator

from lib.extras import require, require_onnx
from lib.recipes.classifier import (
    Balance,
    Classifier,
    ClassifierEncoding,
    ClassifierLora,
    ClassifierRegistry,
    Evaluation,
    Published,
    Serving,
    Split,
    Training,
)
from lib.recipes.cluster import Cluster
from lib.recipes.data import Data
from lib.recipes.sections import (
    HUB,
    Model,
    Recipe,
    check_adapters,
)


class ClassifyRecipe(Recipe):
    """All of a run that fine-tunes a classifier."""

    data: Data
    balance: Balance = Balance()
    split: Split = Split()
    encoding: ClassifierEncoding = ClassifierEncoding()
    model: Model = Model()
    classifier: Classifier = Classifier()
    lora: ClassifierLora = ClassifierLora()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    serving: Serving = Serving()
    cluster: Cluster = Cluster()
    published: Published = Published()
    registry: ClassifierRegistry = ClassifierRegistry()

    def require_extras(self) -> None:
        self.cluster.require_extras()
        if self.classifier.trainable == "lora":
            require("peft", "lora", "classifier.trainable lora")
        if self.serving.engine == "onnxruntime" or self.serving.precision == "int8":
            field = "engine onnxruntime" if self.serving.engine == "onnxruntime" else "precision int8"
            require_onnx(f"serving.{field}")

    @property
    def has_given_splits(self) -> bool:
        """Whether validation or test exist already, by a column or by name, or may do, as those of a hub's data set."""
        return self.split.column is not None or self.data.source == HUB or self._given_by_name is not None

    @property
    def _given_by_name(self) -> str | None:
        """The field that names validation or test, if one does."""
        data = self.data
        named = {"files": [*data.files.given()], "members": [*data.members.given()], "splits": [*data.splits.given()]}
        return next((f"data.{field}" for field, given in named.items() if len(given) > 1), None)

    @model_validator(mode="after")
    def _splits_are_given_once(self) -> ClassifyRecipe:
        if self.split.column is not None and self._given_by_name is not None:
            raise ValueError(
                f"split.column and {self._given_by_name} both say which messages are of which split: leave one of them"
                " out"
            )
        if self.split.near_duplicates != "keep" and not self.has_given_splits:
            raise ValueError(
                f"split.near_duplicates is {self.split.near_duplicates!r}, but no validation or test split is given:"
                " name one in data.files or by split.column, or leave it out; split.group_duplicates keeps them apart"
            )
        return self

    @model_validator(mode="after")
    def _columns_are_all_names_or_positions(self) -> ClassifyRecipe:
        for name, column in (("split.column", self.split.column), ("evaluation.slices", self.evaluation.slices)):
            if column is not None and isinstance(column, int) != isinstance(self.data.text_column, int):
                raise ValueError(
                    f"{name}, data.text_column and data.label_column must all be names (a file with a header row) or"
                    " all positions (a file without one)"
                )
        return self

    @model_validator(mode="after")
    def _adapters_are_used(self) -> ClassifyRecipe:
        check_adapters(self.lora, "classifier.trainable", self.classifier.trainable)
        return self

    @model_validator(mode="after")
    def _kept_adapters_have_a_base(self) -> ClassifyRecipe:
        if self.lora.keep and self.model.weights == "scratch":
            raise ValueError(
                "lora.keep is true, but model.weights 'scratch' is no base that adapters could be loaded beside: name"
                " weights, or leave lora.keep out"
            )
        return self

    @model_validator(mode="after")
    def _a_kept_head_is_there(self) -> ClassifyRecipe:
        if self.classifier.head == "keep" and self.model.weights == "scratch":
            raise ValueError(
                "classifier.head is 'keep', but model.weights 'scratch' has no head: name the folder or repository of a"
                " classifier, or set classifier.head to 'new'"
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
    def _padding_is_no_text_for_onnx(self) -> ClassifyRecipe:
        named = {"serving.engine": self.serving.engine, "serving.precision": self.serving.precision}
        field = next((field for field, value in named.items() if value in ("onnxruntime", "int8")), None)
        if self.classifier.pooling == "padded_last" and field is not None:
            raise ValueError(
                f"{field} is {named[field]!r}, but with classifier.pooling 'padded_last' answers depend on how"
                " texts are padded, which only torch computes here: choose pooling 'last_token', or engine 'torch'"
            )
        return self

    @model_validator(mode="after")
    def _windows_are_of_whole_models(self) -> ClassifyRecipe:
        if self.encoding.long_texts == "windows" and self.training.sharding == "full":
            raise ValueError(
                "encoding.long_texts is 'windows', of which each process computes as many as its texts have, and with"
                " training.sharding 'full' all must compute equally many: set one of them to another value"
            )
        return self

    @model_validator(mode="after")
    def _windows_are_padded_in_batches(self) -> ClassifyRecipe:
        if self.encoding.long_texts == "windows" and self.classifier.padding != "batch":
            raise ValueError(
                f"encoding.long_texts is 'windows', but classifier.padding {self.classifier.padding!r} is of the"
                " published procedure, which has none: choose padding 'batch', or long_texts 'head_and_tail'"
            )
        return self

    @model_validator(mode="after")
    def _an_evaluation_does_not_look_at_the_beginning_of_a_file(self) -> ClassifyRecipe:
        padding, batches = self.classifier.padding, self.training.evaluate_batches
        if self.split.method == "hashed" and padding != "batch" and batches is not None:
            raise ValueError(
                "split.method hashed keeps the order of the file, which may be that of the labels, and with"
                f" classifier.padding {padding!r} an evaluation while training looks at the first"
                f" {batches} batches (training.evaluate_batches): choose padding 'batch', evaluate_batches null, or"
                " split.method published"
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
