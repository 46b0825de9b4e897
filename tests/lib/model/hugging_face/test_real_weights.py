"""A really pretrained encoder: its vectors know what texts mean, and it is cut, batched and trained like a tiny one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lib.model.classifier import class_probabilities, new_classifier
from lib.model.features.file import Features, write_features
from lib.model.hugging_face.check import inspect_network
from lib.model.hugging_face.limits import context_length_of
from lib.model.hugging_face.pooled import PooledTransformer, load_backbone
from lib.model.padding import pad_batch
from lib.text.tokenizer import load_tokenizer
from lib.training.batches import EncodedMessages
from lib.training.classify.finetune import finetune
from lib.training.settings import Settings

pytestmark = pytest.mark.models

LABELS = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
# The model's own card: paraphrases are near, other sentences are not.
PAIRS = [("A man is eating food.", "Someone eats a meal."), ("Where is the station?", "How do I get to the station?")]
OTHERS = [("A man is eating food.", "The server answers with an error."), ("Where is the station?", "She paints.")]


def backbone(folder: Path) -> PooledTransformer:
    return load_backbone(folder, LABELS, pooling="mean", context_length=512, pad=0)


def similarity(network: PooledTransformer, folder: Path, pair: tuple[str, str]) -> float:
    tokens, lengths = pad_batch(load_tokenizer(folder).encode(pair), pad=network.pad)
    with torch.no_grad():
        one, other = torch.nn.functional.normalize(network.pooled(tokens, lengths))
    return float(one @ other)


def test_paraphrases_are_near_and_other_sentences_are_not(minilm: Path) -> None:
    network = backbone(minilm)
    assert min(similarity(network, minilm, pair) for pair in PAIRS) > 0.5
    assert max(similarity(network, minilm, pair) for pair in OTHERS) < 0.2


def test_it_is_told_what_it_is(minilm: Path) -> None:
    tokenizer = load_tokenizer(minilm)
    texts = tokenizer.encode(["ok", "a longer text than the first one", "three words here"])
    network = inspect_network(minilm, texts, vocabulary=tokenizer.vocabulary, pad=tokenizer.pad)
    assert (network.family, network.width, network.depth, network.heads) == ("bert", 384, 6, 12)
    assert (network.parameters, network.vocabulary) == (22_713_216, 30_522)
    assert (network.causal, network.uncut) == (False, None)
    assert context_length_of(minilm) == 512


@pytest.mark.data
def test_six_hundred_questions_teach_it_what_most_questions_ask_for(
    minilm: Path, real_data: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(real_data / "trec-train.csv", dtype=str).sample(900, random_state=1)
    tokens = load_tokenizer(minilm).encode(table["text"])
    targets = [LABELS.index(label) for label in table["label"]]
    network = backbone(minilm)
    classifier = new_classifier(network, LABELS, trainable="last_block", seed=1)
    parts = {"train": slice(0, 600), "validation": slice(600, 700), "test": slice(700, 900)}
    features = {}
    for name, part in parts.items():
        ids = range(len(tokens[part]))
        write_features(
            tmp_path / name, network, tokens[part], ids, blocks=5, dtype="float32", scratch=tmp_path / "scratch"
        )
        features[name] = Features(tmp_path / name, ids)
    whole = class_probabilities(classifier, tokens[parts["test"]], padding="batch", max_length=512, device="cpu")
    kept = class_probabilities(classifier, features["test"], padding="batch", max_length=512, device="cpu")
    assert np.abs(whole - kept).max() < 1e-5
    finetune(
        classifier,
        {name: EncodedMessages(features[name], targets[parts[name]]) for name in ("train", "validation")},
        settings=Settings(epochs=3, batch_size=32, learning_rate=1e-3, evaluate_every=100, device="cpu"),
        padding="batch",
        max_length=512,
        scratch=tmp_path / "checkpoints",
    )
    found = class_probabilities(classifier, features["test"], padding="batch", max_length=512, device="cpu")
    accuracy = float((found.argmax(axis=1) == np.asarray(targets[parts["test"]])).mean())
    assert accuracy > 0.75  # 0.84 on the machine where this was written; the most frequent class has a quarter
