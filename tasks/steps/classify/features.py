"""Computes the frozen part's activations once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.parts import Parts
from lib.data.tables import SPLITS, TOKENS
from lib.data.tokens import REPORT
from lib.files.jsonfile import load_json, save_json
from lib.model.features.choice import FeatureChoice, FeatureSize, FrozenPart, choose_features
from lib.model.machine.device import device_here, feature_dtype
from lib.model.trainable import learning_blocks
from tasks.engine.cluster import computing
from tasks.engine.step import Work, step
from tasks.steps.backbone import facts_of
from tasks.steps.classify.network import keeps_head, saved_network
from tasks.steps.training import device_identity

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact
    from tasks.engine.step import Inputs


def choice(recipe: ClassifyRecipe, inputs: Inputs) -> FeatureChoice:
    """Decides whether to cache this run's features, and says why."""
    facts = facts_of(inputs["backbone"])
    depth = facts["depth"]
    lengths = load_json(inputs["tokenize"].file(REPORT))["splits"]
    training = recipe.training
    return choose_features(
        training.feature_cache,
        FrozenPart(depth, _learning_blocks(recipe), recipe.classifier.pooling, recipe.model.dropout, facts["uncut"]),
        FeatureSize(sum(lengths[name]["tokens"] for name in _splits(recipe)), facts["width"], _dtype(recipe)),
        epochs=training.epochs,
        budget_gib=training.feature_budget,
    )


def _splits(recipe: ClassifyRecipe) -> tuple[str, ...]:
    """Returns all splits that training and evaluation run; the reserve, the longest, only if it is evaluated."""
    return (*SPLITS, "reserve") if recipe.evaluation.natural_prevalence else SPLITS


def _learning_blocks(recipe: ClassifyRecipe) -> int | None:
    return learning_blocks(recipe.classifier.trainable, lora_blocks=recipe.lora.blocks)


def _dtype(recipe: ClassifyRecipe) -> str:
    training = recipe.training
    device = device_here(training.device)
    return feature_dtype(training.feature_dtype, precision=training.precision, device=device)


def _identity(recipe: ClassifyRecipe, inputs: Inputs) -> dict[str, str]:
    """Identifies the frozen part, counted from its end, and the arithmetic and device; or says that features are not
    cached.

    Together with weights and tokens that is all features depend on: recipes that differ in anything else share them.
    """
    if not {"backbone", "tokenize"} <= inputs.keys():
        return {}  # when explaining, before the inputs exist
    if not choice(recipe, inputs).keep:
        return {"kept": "no"}
    return {
        "learning_blocks": str(_learning_blocks(recipe)),
        "causal_mask": str(recipe.model.causal_mask),
        "dtype": _dtype(recipe),
        "splits": " ".join(_splits(recipe)),
        **device_identity(recipe, inputs),
    }


@step(
    "features",
    unkeyed=[
        "training",
        "classifier",
        "lora.blocks",
        "model.dropout",
        "model.causal_mask",
        "evaluation.natural_prevalence",
        "model.weights",  # named in errors
        "cluster",
    ],
    identity=_identity,
    tags=["gpu"],
)
def features(work: Work[ClassifyRecipe], tokenizer: Artifact, backbone: Artifact, tokenize: Artifact) -> None:
    """Runs the frozen part once over every message or window; `features.json` says whether features are kept, in
    parts of each split."""
    from lib.model.features.parts import Frozen, write_feature_parts

    chosen = choice(work.recipe, {"backbone": backbone, "tokenize": tokenize})
    work.log.info("features are %s: %s", "kept" if chosen.keep else "not kept", chosen.reason)
    save_json({"kept": chosen.keep}, work.folder / "features.json")
    if not chosen.keep:
        return
    keeps_head(work.recipe, backbone, Parts(tokenize.file("train"), TOKENS).labels)  # refuse before the work
    learning = _learning_blocks(work.recipe)
    assert learning is not None, "something is frozen where features are kept"
    device = work.identity["device"]
    network = saved_network(work.recipe, tokenizer, backbone)
    with computing(work, backbone, tokenize, cards=int(device == "cuda")) as cluster:
        warnings = write_feature_parts(
            tokenize.folder,
            _splits(work.recipe),
            work.folder,
            Frozen(network, learning, work.identity["dtype"], device),
            width=facts_of(backbone)["width"],
            scratch=work.scratch,
            cluster=cluster,
            progress=work.progress,
        )
    for sentence in warnings:
        work.warn(sentence)
