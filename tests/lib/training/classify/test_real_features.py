"""The real messages, trained on with features and without: the same curve, and the same verdict on every message."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from lib.data.messages.balance import balance_messages
from lib.data.messages.reading import read_messages
from lib.data.messages.split import split_messages
from lib.data.source.data_file import DataFile
from lib.data.source.reader import How
from lib.data.tables import SPLITS
from lib.model.classifier import class_probabilities, new_classifier
from lib.model.features.file import Features, write_features
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.sizes import GPTConfig
from lib.text.gpt2 import gpt2_tokenizer
from lib.training.batches import EncodedMessages
from lib.training.classify.finetune import finetune
from lib.training.settings import Settings
from tests.support.tokens import tokenized

LABELS = ("ham", "spam")
SHAPE = GPTConfig(context_length=256, emb_dim=64, n_heads=4, n_layers=3)


@pytest.mark.data
def test_features_change_no_verdict(real_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(real_data / "sms+spam+collection.zip") as archive:
        file = Path(archive.extract("SMSSpamCollection", tmp_path))
    how = How(format="tsv", quoting="csv")
    source = DataFile(file, file.name)
    messages = read_messages(source, how, text_column=1, label_column=0, empty_text="error").frame()
    balanced = balance_messages(messages, method="undersample", seed=123).balanced
    tables = split_messages(
        balanced, train=0.7, validation=0.1, test=0.2, seed=123, stratify=False, group_duplicates=False
    ).tables()
    _, tokens = tokenized(
        tables,
        tmp_path / "tokenized",
        labels=LABELS,
        tokenizer=gpt2_tokenizer(),
        max_length=None,
        context_length=256,
    )
    assert {name: len(table) for name, table in tokens.items()} == {"train": 1045, "validation": 149, "test": 300}

    backbone = PooledGPT(new_gpt(SHAPE, seed=1), pooling="last_token")
    kept = {}
    for name in SPLITS:
        ids = tokens[name]["id"].tolist()
        write_features(
            tmp_path / name,
            backbone,
            tokens[name]["tokens"].tolist(),
            ids,
            blocks=2,
            dtype="float32",
            scratch=tmp_path / "scratch",
        )
        kept[name] = Features(tmp_path / name, ids)
    assert sum(len(features.flat) for features in kept.values()) == 45_702
    whole = {name: list(tokens[name]["tokens"]) for name in SPLITS}

    histories, verdicts, probabilities = [], [], []
    for inputs in (whole, kept):
        classifier = new_classifier(
            PooledGPT(new_gpt(SHAPE, seed=1), pooling="last_token"), LABELS, trainable="last_block", seed=123
        )
        trained = finetune(
            classifier,
            {name: EncodedMessages(inputs[name], tokens[name]["target"].tolist()) for name in ("train", "validation")},
            settings=Settings(epochs=2, learning_rate=1e-3, evaluate_every=20, device="cpu"),
            padding="batch",
            max_length=120,
            scratch=tmp_path / "checkpoints",
        )
        histories.append(trained.history)
        found = [class_probabilities(classifier, inputs[name], padding="batch", max_length=120) for name in SPLITS]
        probabilities.append(np.concatenate(found))
        verdicts.append(probabilities[-1].argmax(axis=1))
    without, with_features = histories
    np.testing.assert_allclose(with_features.train_loss, without.train_loss, atol=1e-5)
    np.testing.assert_allclose(with_features.validation_loss, without.validation_loss, atol=1e-5)
    np.testing.assert_allclose(probabilities[1], probabilities[0], atol=1e-4)
    assert np.array_equal(*verdicts)
    accuracy = (verdicts[0][-300:] == tokens["test"]["target"]).mean()
    assert accuracy > 0.8  # it has learnt something that could have differed
