"""Makes the backbone that a recipe describes, from the artifacts of the steps before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from lib.model.places import GPT2
from tasks.steps.backbone import facts_of
from tasks.steps.tokenizer import context_length

if TYPE_CHECKING:
    from lib.model.backbone import Backbone, Pooling
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact


def pooling_of(recipe: ClassifyRecipe, backbone: Artifact) -> Pooling:
    """Returns the recipe's pooling; `auto` is what the network was trained for."""
    chosen = recipe.classifier.pooling
    return cast("Pooling", facts_of(backbone)["pooling"]) if chosen == "auto" else chosen


def load_network(
    recipe: ClassifyRecipe, tokenizer: Artifact, backbone: Artifact, labels: Sequence[str], *, dropout: float
) -> Backbone:
    """Loads the network on which a classifier of these labels is made."""
    from lib.model.gpt2.pooled import PooledGPT
    from lib.model.gpt2.weights import load_gpt
    from lib.model.hugging_face.pooled import load_backbone
    from lib.text.tokenizer import load_tokenizer

    pooling, causal_mask = pooling_of(recipe, backbone), recipe.model.causal_mask
    if facts_of(backbone)["network"] == GPT2:
        return PooledGPT(load_gpt(backbone.folder, dropout=dropout, causal_mask=causal_mask), pooling=pooling)
    return load_backbone(
        backbone.folder,
        labels,
        pooling=pooling,
        context_length=context_length(tokenizer),
        pad=load_tokenizer(tokenizer.folder).pad,
        dropout=dropout,
        causal_mask=causal_mask,
        seed=recipe.training.seed,
    )
