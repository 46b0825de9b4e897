"""Saved models at work on a card: the labels and the tokens of a CPU."""

from __future__ import annotations

import csv
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.data.samples.messages import ARCHIVE, MEMBER
from lib.errors import MessagesError
from lib.inference.engines.torch_engine import TorchEngine
from lib.inference.predictor import Predictor
from lib.model.classifier import class_probabilities, new_classifier, save_classifier
from lib.model.gpt2.generation import generate
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.sizes import GPTConfig
from lib.model.labels import Probabilities
from lib.model.usage import Usage
from lib.text.gpt2 import gpt2_tokenizer
from tests.support.card import little_memory

pytestmark = pytest.mark.gpu

SHAPE = GPTConfig(context_length=128, emb_dim=64, n_heads=4, n_layers=4)


@pytest.fixture
def texts() -> list[str]:
    with zipfile.ZipFile(ARCHIVE) as archive:
        rows = csv.reader(archive.read(MEMBER).decode().splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row[1] for row in rows][:600]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    gpt = new_gpt(SHAPE, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    model = new_classifier(PooledGPT(gpt, pooling="last_token"), ("ham", "other", "spam"), trainable="all", seed=3)
    save_classifier(tmp_path, model, Usage(max_length=120, padding="batch", precision="float32"))
    gpt2_tokenizer().save(tmp_path)
    return tmp_path


def test_a_predictor_gives_the_labels_of_a_cpu(folder: Path, texts: list[str]) -> None:
    on_cpu, on_card = (list(Predictor.load(folder, device=device).predict(texts)) for device in ("cpu", "cuda"))
    assert [each.label for each in on_card] == [each.label for each in on_cpu]
    assert len({each.label for each in on_cpu}) > 1
    for label in ("ham", "spam"):
        found, expected = ([each.probabilities[label] for each in side] for side in (on_card, on_cpu))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_many_texts_are_read_ahead(folder: Path, texts: list[str]) -> None:
    many = [text for _ in range(14) for text in texts]  # more than two windows
    predictor = Predictor.load(folder, device="cuda")
    found = [each.label for each in predictor.predict(many)]
    assert found == [each.label for each in predictor.predict(texts)] * 14
    with pytest.raises(MessagesError, match="text 8001 is empty"):
        list(predictor.predict([*many[:8000], "", *many]))


def test_bfloat16_gives_nearly_the_same_labels(folder: Path, texts: list[str]) -> None:
    tokens = gpt2_tokenizer().encode(texts)
    exact = TorchEngine.load(folder, device="cpu").probabilities(tokens)
    rough = TorchEngine.load(folder, device="cuda", precision="bfloat16").probabilities(tokens)
    assert np.abs(exact - rough).max() < 0.1
    assert (exact.argmax(axis=1) == rough.argmax(axis=1)).mean() > 0.97


def test_prediction_in_parts_where_memory_is_short(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = TorchEngine.load(folder, device="cuda")
    engine = replace(engine, usage=replace(engine.usage, max_length=128))
    tokens = [[(7 * row + place) % 50000 for place in range(120)] for row in range(2000)]

    def run() -> Probabilities:
        return class_probabilities(engine.classifier, tokens, padding="batch", max_length=128, device="cuda")

    expected = run()
    assert torch.cuda.max_memory_allocated() > 8e7
    torch.cuda.empty_cache()
    with little_memory(torch.cuda.memory_allocated() + 60e6):
        found = run()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert "texts at once" in caplog.text


def test_generation_writes_the_tokens_of_a_cpu() -> None:
    gpt = new_gpt(SHAPE, seed=1)
    prompts = [[1, 2, 3], [40, 50, 60, 70, 80, 90], [7]]
    expected = generate(gpt, prompts, max_new_tokens=20)
    assert generate(gpt.to("cuda"), prompts, max_new_tokens=20) == expected
    drawn = [generate(gpt, prompts, max_new_tokens=20, temperature=0.8, top_k=5, top_p=0.9, seed=1) for _ in range(2)]
    assert drawn[0] == drawn[1]
