"""What really pretrained weights could be served with, on TREC questions: random weights would hide what int8 does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lib.evaluation.classify.decision import Wanted
from lib.export.candidates import FORMS, Sample, forms, write_engine
from lib.inference.engines.engine import ALIKE
from lib.inference.engines.loading import load_engine
from lib.inference.predictor import Predictor
from lib.model.backbone import Pooling
from lib.model.classifier import new_classifier, save_classifier
from lib.model.features.file import Features, write_features
from lib.model.hugging_face.pooled import load_backbone
from lib.model.usage import Usage
from lib.text.tokenizer import load_tokenizer
from lib.text.tokenizer_folder import prepare_tokenizer
from lib.training.batches import EncodedMessages
from lib.training.classify.finetune import finetune
from lib.training.settings import Settings

pytestmark = [pytest.mark.models, pytest.mark.data]

LABELS = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
QUESTIONS = 200  # to train with; as many are asked
MAX_LENGTH = 64


def trained(weights: Path, pooling: Pooling, questions: pd.DataFrame, folder: Path) -> Path:
    """Saves a classifier whose last block learned from questions."""
    saved = folder / "saved"
    saved.mkdir()
    prepare_tokenizer(weights, saved)
    tokenizer = load_tokenizer(saved)
    network = load_backbone(weights, LABELS, pooling=pooling, context_length=512, pad=tokenizer.pad, seed=1)
    classifier = new_classifier(network, LABELS, trainable="last_block", seed=1)
    tokens, ids = tokenizer.encode(questions["text"]), range(len(questions))
    write_features(
        folder / "features", network, tokens, ids, blocks=network.cut, dtype="float32", scratch=folder / "scratch"
    )
    messages = EncodedMessages(Features(folder / "features", ids), list(questions["target"]))
    finetune(
        classifier,
        {"train": messages, "validation": messages},
        settings=Settings(epochs=4, batch_size=16, learning_rate=5e-4, evaluate_every=1000, device="cpu"),
        padding="batch",
        max_length=MAX_LENGTH,
        scratch=folder / "checkpoints",
    )
    save_classifier(saved, classifier, Usage(max_length=MAX_LENGTH, padding="batch", precision="float32"))
    return saved


def measured(weights: Path, pooling: Pooling, data: Path, folder: Path) -> tuple[Path, dict[str, Any], pd.DataFrame]:
    """Trains, and writes what serves best; returns the classifier's folder, a row for each candidate, and questions."""
    questions = pd.read_csv(data / "trec-train.csv", dtype=str).sample(QUESTIONS, random_state=1)
    asked = pd.read_csv(data / "trec-test.csv", dtype=str).sample(QUESTIONS, random_state=1)
    for table in (questions, asked):
        table["target"] = table["label"].map(LABELS.index)
    saved = trained(weights, pooling, questions, folder)
    tokenizer = load_tokenizer(saved)
    sample = Sample(
        tokenizer.encode(asked["text"]), asked["target"].to_numpy(), tokenizer.encode(questions["text"]), Wanted()
    )
    written = write_engine(saved, saved, forms("auto", "auto", onnx=True), lambda: sample, largest_flip_share=0.005)
    rows = {row["name"]: row for row in written["candidates"]}
    assert list(rows) == list(FORMS)
    assert rows[written["chosen"]]["refused"] is None
    return saved, rows, asked


def require_independence(folder: Path, questions: list[str]) -> None:
    """The served engine gives a question the same probabilities alone and among others."""
    predictor = Predictor.load(folder)
    together = np.array([list(each.probabilities.values()) for each in predictor.predict(questions)])
    alone = np.array([list(next(predictor.predict([each])).probabilities.values()) for each in questions])
    within = ALIKE if load_engine(folder).precision != "bfloat16" else 0.03
    assert np.abs(together - alone).max() < within


def test_an_encoder(minilm: Path, real_data: Path, tmp_path: Path) -> None:
    folder, rows, asked = measured(minilm, "mean", real_data, tmp_path)
    assert rows["torch float32"]["accuracy"] > 0.6  # the most frequent class has a quarter
    exact = rows["onnxruntime float32"]
    assert (exact["flips"], exact["refused"]) == (0, None)
    assert exact["largest_difference"] < 1e-5
    assert rows["onnxruntime int8"]["flips"] <= 6  # of 200, which few questions taught it to tell apart
    assert rows["onnxruntime int8"]["difference_99"] < 0.1
    require_independence(folder, list(asked["text"][:40]))


@pytest.mark.slow
def test_a_decoder(smollm2: Path, real_data: Path, tmp_path: Path) -> None:
    folder, rows, asked = measured(smollm2, "last_token", real_data, tmp_path)
    assert rows["onnxruntime float32"]["flips"] == 0
    assert rows["onnxruntime int8, in blocks"]["difference_99"] < rows["onnxruntime int8"]["difference_99"]
    require_independence(folder, list(asked["text"][:20]))
