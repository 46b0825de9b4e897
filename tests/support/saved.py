"""Tiny saved classifiers, as a training leaves them: on our GPT-2, or on a network of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lib.export.candidates import Sample, write_engine
from lib.inference.engines.engine import ONNXRUNTIME
from lib.inference.engines.saved import SavedEngine, saved_engine
from lib.model.backbone import Pooling
from lib.model.classifier import new_classifier, save_classifier
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.sizes import GPTConfig
from lib.model.hugging_face.pooled import load_backbone
from lib.model.usage import Usage
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.tokenizer import load_tokenizer
from lib.text.tokenizer_folder import prepare_tokenizer
from tests.support.families import CLASSIFIERS, write_family
from tests.support.tiny_tokenizers import byte_pair, wordpiece

LABELS = ("ham", "other", "spam")
MAX_LENGTH = 16


def write_weights(family: str, folder: Path, **fields: Any) -> Path:
    """Writes a pretrained network of the family with its tokenizer, as its makers publish one; returns the folder."""
    made = (wordpiece if family in CLASSIFIERS else byte_pair)(folder)
    vocabulary = load_tokenizer(made).vocabulary
    return write_family(family, folder, **{"vocab_size": vocabulary, **fields})


def save_family_classifier(
    family: str, weights: Path, folder: Path, *, pooling: Pooling | None = None, causal_mask: bool = True
) -> Path:
    """Saves a classifier on the network in `weights`, as a training leaves one; returns the folder."""
    folder.mkdir()
    prepare_tokenizer(weights, folder)
    own: Pooling = "cls" if family in CLASSIFIERS else "last_token"
    backbone = load_backbone(
        weights,
        LABELS,
        pooling=pooling or own,
        context_length=64,
        pad=load_tokenizer(folder).pad,
        causal_mask=causal_mask,
        seed=1,
    )
    classifier = new_classifier(backbone, LABELS, trainable="last_block", seed=1)
    save_classifier(folder, classifier, Usage(max_length=MAX_LENGTH, padding="batch", precision="float32"))
    return folder


def save_gpt2_classifier(
    folder: Path, *, pooling: Pooling = "last_token", causal_mask: bool = True, labels: Sequence[str] = LABELS
) -> Path:
    """Saves a classifier on our own GPT; returns the folder."""
    folder.mkdir()
    config = GPTConfig(context_length=24, emb_dim=8, n_heads=2, n_layers=2, causal_mask=causal_mask)
    backbone = PooledGPT(new_gpt(config, seed=1), pooling=pooling)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.mul_(10)  # so that texts differ in what is computed of them
    classifier = new_classifier(backbone, labels, trainable="all", seed=2)
    save_classifier(folder, classifier, Usage(max_length=MAX_LENGTH, padding="batch", precision="float32"))
    gpt2_tokenizer().save(folder)
    return folder


def write_engine_file(source: Path, target: Path) -> SavedEngine:
    """Writes what serves a saved classifier with ONNX Runtime in float32 into a folder; returns what it is."""

    def sample() -> Sample:
        raise AssertionError("nothing is measured where one engine is named")

    write_engine(source, target, [f"{ONNXRUNTIME} float32"], sample, largest_flip_share=0)
    return saved_engine(target)
