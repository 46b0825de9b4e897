"""Makes the backbone that a recipe describes, and the classifier on it, from the artifacts of the steps before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import methodcaller
from typing import TYPE_CHECKING, cast

from lib.data.messages.balance import class_weights
from lib.errors import LabelError, RecipeError, WeightsError, listed
from lib.model.places import GPT2
from tasks.steps.backbone import HEAD, facts_of
from tasks.steps.tokenizer import context_length

if TYPE_CHECKING:
    from torch import nn

    from lib.model.backbone import Backbone, Pooling
    from lib.model.classifier import Classifier
    from lib.model.network import SavedNetwork
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact
    from lib.training.classify.single_label import SingleLabel


def pooling_of(recipe: ClassifyRecipe, backbone: Artifact) -> Pooling:
    """Returns the recipe's pooling; `auto` is what the network was trained for."""
    chosen = recipe.classifier.pooling
    return cast("Pooling", facts_of(backbone)["pooling"]) if chosen == "auto" else chosen


def load_network(
    recipe: ClassifyRecipe,
    tokenizer: Artifact,
    backbone: Artifact,
    labels: Sequence[str],
    *,
    dropout: float,
    new_head: bool = True,
) -> Backbone:
    """Loads the network on which a classifier of these labels is made; `new_head` as in `load_backbone`."""
    return saved_network(recipe, tokenizer, backbone).load(labels, dropout=dropout, new_head=new_head)


def saved_network(recipe: ClassifyRecipe, tokenizer: Artifact, backbone: Artifact) -> SavedNetwork:
    """Returns the network that a recipe describes, not loaded yet."""
    from lib.model.network import SavedNetwork
    from lib.text.tokenizer import load_tokenizer

    own = facts_of(backbone)["network"] == GPT2
    return SavedNetwork(
        backbone.folder,
        own=own,
        pooling=pooling_of(recipe, backbone),
        context_length=0 if own else context_length(tokenizer),
        pad=0 if own else load_tokenizer(tokenizer.folder).pad,
        causal_mask=recipe.model.causal_mask,
        seed=0 if own else recipe.training.seed,
    )


def keeps_head(recipe: ClassifyRecipe, backbone: Artifact, labels: Sequence[str]) -> bool:
    """Whether the classifier goes on with the head of its weights. Raises, if that is asked for, WeightsError if there
    is none, LabelError if it has other labels than the data, and RecipeError if it was trained otherwise."""
    facts = facts_of(backbone)
    head, weights = facts["head"], recipe.model.weights
    if recipe.classifier.head == "new":
        return False
    new = "set classifier.head to 'new'"
    if head is None:
        raise WeightsError(
            f"classifier.head is 'keep', but {weights} has no head that gives one label to a text, with its labels as"
            f" id2label in config.json: {new}"
        )
    if set(head["labels"]) != set(labels):
        raise LabelError(
            f"classifier.head is 'keep', but the head of {weights} has the labels {listed(head['labels'])}, and the"
            f" data has {listed(labels)}: {new}"
        )
    trained = {"classifier.pooling": head["pooling"], "model.causal_mask": head["causal_mask"]}
    wanted = {"classifier.pooling": pooling_of(recipe, backbone), "model.causal_mask": recipe.model.causal_mask}
    for field, value in trained.items():
        if wanted[field] != value:
            raise RecipeError(
                f"classifier.head is 'keep', but {field} is {wanted[field]!r}, and the head of {weights} was trained"
                f" with {value!r}: set {field} to that, or {new}"
            )
    return True


def could_keep_head(recipe: ClassifyRecipe, backbone: Artifact, labels: Sequence[str]) -> bool:
    """Whether a new head takes the place of one that has these labels."""
    head = facts_of(backbone)["head"]
    return recipe.classifier.head == "new" and head is not None and set(head["labels"]) == set(labels)


def stored_head(network: Backbone, backbone: Artifact, labels: Sequence[str]) -> nn.Linear:
    """Returns the head of the weights, its rows in the order of `labels`, which are its own."""
    from lib.model.classifier import reordered
    from lib.model.gpt2.weights import load_head
    from lib.model.hugging_face.pooled import PooledTransformer

    head = network.take_head() if isinstance(network, PooledTransformer) else load_head(backbone.file(HEAD))
    return reordered(head, facts_of(backbone)["head"]["labels"], labels)


def untrained_classifier(
    recipe: ClassifyRecipe, tokenizer: Artifact, backbone: Artifact, labels: Sequence[str]
) -> Classifier:
    """Returns the classifier that a training begins with; raises as `keeps_head` does."""
    from lib.model.classifier import new_classifier

    kept = keeps_head(recipe, backbone, labels)
    network = load_network(recipe, tokenizer, backbone, labels, dropout=recipe.model.dropout, new_head=not kept)
    return new_classifier(
        network,
        labels,
        trainable=recipe.classifier.trainable,
        seed=recipe.training.seed,
        adapt=_adapters(recipe),
        head=stored_head(network, backbone, labels) if kept else None,
    )


def objective_of(recipe: ClassifyRecipe, targets: Iterable[int]) -> SingleLabel:
    """Returns what a training minimises; `targets` are those of its messages, which class weights are made of."""
    from lib.training.classify.single_label import SingleLabel

    weights = None
    if recipe.balance.method == "class_weights":
        weights = tuple(float(weight) for weight in class_weights(targets))
    return SingleLabel(weights, ignore_index=recipe.training.ignore_index)


def _adapters(recipe: ClassifyRecipe) -> Callable[[Backbone], None] | None:
    if recipe.classifier.trainable != "lora":
        return None
    return methodcaller("add_adapters", **recipe.lora.model_dump(exclude={"keep"}))
