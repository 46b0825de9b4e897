"""Writes a saved model as the folder that transformers' Auto classes and pipelines load."""

import shutil
from collections.abc import Callable
from pathlib import Path

from lib.errors import WeightsError
from lib.export.checking import Original, require_same, save_tokenizer
from lib.files.appear import appearing
from lib.model.classifier import Classifier
from lib.model.hugging_face.loading import quiet
from lib.model.labels import Probabilities
from lib.model.weights.folder import CONFIG, network_files, read_fields
from lib.model.weights.saved import NETWORK, OWN_TYPE
from lib.text.tokenizer import load_tokenizer


def export_classifier(source: Path, target: Path) -> None:
    """Writes the classifier in `source`, which `Predictor.load` reads, into a new folder: config.json with the labels,
    model.safetensors, and the tokenizer with the length at which texts are cut.

    Raises `WeightsError` if no class of transformers computes the same, `RecipeError` if `target` is not empty.
    """
    original = Original.load(source)
    _require_standard(source, original.classifier)
    with appearing(target) as folder:
        _copy_network(source, folder)
        save_tokenizer(original, folder)
        require_same(original, "a folder of transformers", _reader(folder))


def export_follower(source: Path, target: Path) -> None:
    """Writes the instruction follower in `source` into a new folder, for AutoModelForCausalLM and AutoTokenizer; raises
    `RecipeError` if `target` is not empty."""
    tokenizer = load_tokenizer(source)
    with appearing(target) as folder:
        _copy_network(source, folder)
        tokenizer.save(folder)


def _copy_network(source: Path, folder: Path) -> None:
    for file in network_files(source):
        shutil.copyfile(file, folder / file.name)


def _require_standard(source: Path, classifier: Classifier) -> None:
    """Refuses a classifier that no class of transformers computes, and says which one could be exported."""
    fields = read_fields(source / CONFIG)
    if fields["model_type"] != OWN_TYPE:
        return
    family, backbone = fields[NETWORK]["model_type"], classifier.backbone
    if backbone.pooling != backbone.family_pooling:
        raise WeightsError(
            f"the classifier has classifier.pooling {backbone.pooling!r}, which no class of transformers has for"
            f" {family}: train with classifier.pooling {backbone.family_pooling!r}, or export with --format onnx"
        )
    if not backbone.causal_mask:
        raise WeightsError(
            f"the classifier has model.causal_mask false, which no class of transformers has for {family}: train with"
            " model.causal_mask true, or export with --format onnx"
        )
    raise WeightsError(
        f"the classifier has {len(classifier.labels)} labels and {backbone.pooled_width} dimensions, and transformers'"
        f" classifiers of {family} have no bias, which then cannot be left out: export with --format onnx"
    )


def _reader(folder: Path) -> Callable[[list[str]], Probabilities]:
    """Returns how transformers reads a batch of texts with what is in the folder."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True).eval()

    def ask(texts: list[str]) -> Probabilities:
        batch = tokenizer(texts, truncation=True, padding=True, return_tensors="pt")
        with torch.inference_mode():
            probabilities: Probabilities = model(**batch).logits.double().softmax(dim=1).numpy()
        return probabilities

    return ask
