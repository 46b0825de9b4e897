"""Wrong labels among real messages are found with the features of a really pretrained network."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib.data.duplicates import normalise
from lib.evaluation.classify.suspects import out_of_fold, suspects
from lib.model.features.file import Features, write_features
from lib.model.features.inputs import mean_features
from lib.model.hugging_face.pooled import load_backbone
from lib.text.tokenizer import load_tokenizer

MESSAGES = 2_000  # of the collection, which takes three times as long

pytestmark = [pytest.mark.models, pytest.mark.data, pytest.mark.slow]


def test_of_two_percent_flipped_labels_95_percent_are_among_the_first_three(
    minilm: Path, real_data: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(real_data / "sms+spam+collection.zip") as archive:
        lines = archive.read("SMSSpamCollection").decode().split("\n")
    labels, texts = zip(*(line.split("\t", 1) for line in lines[:MESSAGES]), strict=True)
    targets = np.array([label == "spam" for label in labels]).astype(np.int64)
    tokens = [row[:128] for row in load_tokenizer(minilm).encode(texts)]
    network = load_backbone(minilm, ("ham", "spam"), pooling="mean", context_length=512, pad=0)
    file = tmp_path / "features"
    write_features(file, network, tokens, range(len(tokens)), blocks=5, dtype="float32", scratch=tmp_path)
    features = mean_features(Features(file, range(len(tokens))))
    groups = pd.factorize(pd.Series(texts).map(normalise))[0]

    generator = np.random.default_rng(1)
    changed = generator.choice(len(targets), round(0.02 * len(targets)), replace=False)
    wrong = targets.copy()
    wrong[changed] = 1 - wrong[changed]
    found = suspects(wrong, out_of_fold(features, wrong, classes=2, groups=groups).probabilities)
    first = found.rows[: round(0.03 * len(targets))]
    share = len(set(changed) & set(first)) / len(changed)
    assert share >= 0.95
    of_issues = np.isin(found.rows[found.issues], changed).mean()
    assert of_issues > 0.9  # what is counted as wrong is wrong
