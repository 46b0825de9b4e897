"""Saved classifiers that are served with ONNX Runtime, for the rows about predicting and serving."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.real_weights import MINILM, real_weights
from benchmarks.workload import LABELS, SEED, WEIGHTS_SEED
from lib.export.checking import Original
from lib.export.onnx import describe_graph, write_graph
from lib.export.quantize import int8_per_channel
from lib.inference.engines.engine import ONNXRUNTIME
from lib.inference.engines.saved import MODEL, SavedEngine
from lib.model.backbone import Backbone
from lib.model.classifier import new_classifier, save_classifier
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.sizes import SIZES
from lib.model.usage import Usage
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.tokenizer import Tokenizer, load_tokenizer
from lib.text.tokenizer_folder import prepare_tokenizer


def save(model: str, folder: Path, *, max_length: int) -> None:
    """Saves a new classifier on MiniLM's weights, where this is MINILM, or on a GPT of this size."""
    weights = real_weights(MINILM) if model == MINILM else None
    if weights is not None:
        save_minilm(folder, weights, max_length=max_length)
    else:
        save_gpt(folder, model, max_length=max_length)


def save_gpt(folder: Path, size: str, *, max_length: int) -> None:
    """Saves a new classifier on a GPT with random numbers."""
    backbone = PooledGPT(new_gpt(SIZES[size], seed=WEIGHTS_SEED), pooling="last_token")
    save_new_classifier(folder, backbone, gpt2_tokenizer(), max_length=max_length)


def save_minilm(folder: Path, weights: Path, *, max_length: int) -> None:
    """Saves a new classifier on MiniLM's weights."""
    from lib.model.hugging_face.pooled import load_backbone

    prepared = folder.with_name(f"{folder.name}-tokenizer")
    prepared.mkdir(parents=True)
    prepare_tokenizer(weights, prepared)
    tokenizer = load_tokenizer(prepared)
    backbone = load_backbone(weights, LABELS, pooling="mean", context_length=512, pad=tokenizer.pad, seed=SEED)
    save_new_classifier(folder, backbone, tokenizer, max_length=max_length)


def save_new_classifier(folder: Path, backbone: Backbone, tokenizer: Tokenizer, *, max_length: int) -> None:
    """Saves a classifier on a backbone, with a random head, as a finished training does."""
    folder.mkdir(parents=True, exist_ok=True)
    classifier = new_classifier(backbone, LABELS, trainable="head", seed=SEED)
    save_classifier(folder, classifier, Usage(max_length=max_length, padding="batch", precision="float32"))
    tokenizer.save(folder)


def serve_with_onnxruntime(folder: Path, precision: str, texts: Sequence[str]) -> None:
    """Adds ONNX Runtime's graph and engine.json to a saved classifier; int8 is calibrated with the texts."""
    original = Original.load(folder)
    with ExitStack() as stack:
        exact = folder if precision == "float32" else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        graph = write_graph(original, exact)
        if precision == "int8":
            int8_per_channel(exact / MODEL, folder / MODEL, original.encoded(list(texts)))
            graph = describe_graph(folder / MODEL, original.classifier.backbone)
    SavedEngine(ONNXRUNTIME, precision, graph).save(folder)
