"""Fine-tunes the classifier."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lib.data.parts import Parts
from lib.data.tables import SPLITS, TOKENS
from lib.data.tokens import REPORT, load_long_texts, load_tokens
from lib.errors import RecipeError
from lib.files.jsonfile import load_json
from lib.model.labels import AUTO, positive_class, require_both
from lib.model.places import GPT2
from lib.recipes.classify import ClassifyRecipe
from tasks.engine.step import Work, step
from tasks.steps.backbone import facts_of
from tasks.steps.classify.network import could_keep_head, objective_of, untrained_classifier
from tasks.steps.together import TOGETHER, together
from tasks.steps.tokenizer import tokenizer_files
from tasks.steps.training import NOTED, device_identity, save_training, training_settings

if TYPE_CHECKING:
    from lib.model.backbone import Backbone
    from lib.model.classifier import Classifier
    from lib.store.artifacts import Artifact

TRAINED_WITH = ("train", "validation")  # the splits that a training learns from, and chooses its weights by
ADAPTER = "adapter"  # the folder of adapters that are kept


@step(
    "finetune",
    reads=["model.dropout", "model.causal_mask", "classifier", "lora", "training", "balance.method"],
    unkeyed=[
        "model.weights",  # named in the log and in errors
        "training.checkpoint_every",
        "training.device",
        # The features' key covers these.
        "training.feature_cache",
        "training.feature_dtype",
        "training.feature_budget",
        "evaluation.positive_label",
        "evaluation.threshold",
        *TOGETHER,
    ],
    identity=device_identity,
    noted=NOTED,
    tags=["gpu"],
)
@together(ClassifyRecipe)
def finetune(
    work: Work[ClassifyRecipe], tokenizer: Artifact, backbone: Artifact, tokenize: Artifact, features: Artifact
) -> None:
    """Trains a classifier: weights and tokenizer in Hugging Face layout, labels, `inference.json`, `history.parquet`,
    `training.json`, `recipe.json`."""
    from lib.model.classifier import save_classifier
    from lib.model.features.inputs import split_inputs
    from lib.model.usage import Usage
    from lib.training.batches import EncodedMessages
    from lib.training.classify.finetune import finetune as train_classifier

    recipe = work.recipe
    labels = Parts(tokenize.file("train"), TOKENS).labels
    evaluation = recipe.evaluation
    positive_class(labels, evaluation.positive_label, evaluation.threshold)  # refuse before the training
    # The test split is opened only by who asks for its figures: a comparison chooses among trainings that never saw it.
    seen = SPLITS if recipe.training.published_figures else TRAINED_WITH
    targets = {name: load_tokens(tokenize.folder, name).targets for name in seen}
    if evaluation.threshold == AUTO:
        require_both(targets["validation"])
    if could_keep_head(recipe, backbone, labels):
        work.log.info("the head is new; classifier.head keep would go on with that of %s", recipe.model.weights)
    splits = {
        name: EncodedMessages(split_inputs(tokenize.folder, features.folder, name), targets[name]) for name in seen
    }
    max_length = load_json(tokenize.file(REPORT))["max_length"]
    classifier = untrained_classifier(recipe, tokenizer, backbone, labels)
    keep = _keep_adapters(recipe, classifier.backbone, len(labels), work.folder / ADAPTER)
    trained = train_classifier(
        classifier,
        splits,
        settings=training_settings(recipe.training, work.identity["device"]),
        padding=recipe.classifier.padding,
        max_length=max_length,
        objective=objective_of(recipe, targets["train"]),
        scratch=work.scratch,
        fingerprint=features.digest,
        listener=work.listener,
        before_merging=keep,
        team=work.team,
    )
    if work.team.rank > 0:
        return  # the first one keeps what all of them have
    usage = Usage(
        max_length=max_length,
        padding=recipe.classifier.padding,
        precision=recipe.training.precision,
        long_texts=load_long_texts(tokenize.folder),
    )
    save_classifier(work.folder, classifier, usage)
    for file in tokenizer_files(tokenizer):
        shutil.copyfile(file, work.folder / file.name)
    save_training(work, trained, max_length=max_length, network=facts_of(backbone))


def _keep_adapters(
    recipe: ClassifyRecipe, network: Backbone, labels: int, folder: Path
) -> Callable[[Classifier], None]:
    """Returns what writes the adapters, if they are kept. Raises RecipeError if no class could be their base."""
    from lib.data.source.hub import is_repository
    from lib.model.adapters import save_adapters

    if not recipe.lora.keep:
        return lambda _: None
    if network.network == GPT2 and labels > network.pooled_width:
        raise RecipeError(
            f"lora.keep is true, but the classifier has {labels} labels and {network.pooled_width} dimensions, and"
            " transformers' GPT-2 has no bias, which then cannot be left out: set lora.keep to false"
        )
    if not network.standard:
        raise RecipeError(
            f"lora.keep is true, but no class of transformers for {network.family} has classifier.pooling"
            f" {network.pooling!r} with model.causal_mask {network.causal_mask}: train with classifier.pooling"
            f" {network.family_pooling!r} and model.causal_mask true, or set lora.keep to false"
        )
    lora, weights = recipe.lora, recipe.model.weights

    def keep(classifier: Classifier) -> None:
        save_adapters(
            folder,
            classifier.backbone.adapter_parts(classifier.head),
            rank=lora.rank,
            alpha=lora.alpha,
            dropout=lora.dropout,
            # A place on this machine is nobody else's.
            base=weights if is_repository(weights) and not Path(weights).exists() else None,
        )

    return keep
