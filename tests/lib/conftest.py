"""A saved classifier, for the tests of what uses one."""

from pathlib import Path

import pytest

from lib.model.classifier import new_classifier, save_classifier
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.sizes import GPTConfig
from lib.model.usage import Usage
from lib.text.gpt2 import gpt2_tokenizer

LABELS = ("ham", "spam & <scam>")


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training leaves behind, with random weights. To be read only."""
    folder = tmp_path_factory.mktemp("saved") / "classifier"
    folder.mkdir()
    config = GPTConfig(context_length=16, emb_dim=8, n_heads=2, n_layers=2)
    classifier = new_classifier(
        PooledGPT(new_gpt(config, seed=1), pooling="last_token"), LABELS, trainable="all", seed=2
    )
    save_classifier(folder, classifier, Usage(max_length=12, padding="batch", precision="float32"))
    gpt2_tokenizer().save(folder)
    return folder
