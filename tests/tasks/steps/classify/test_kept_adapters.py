"""Adapters that are kept beside the merged weights: peft puts them on the base, and the answers are ours."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from lib.errors import FinetuneError
from lib.inference.predictor import Predictor
from lib.model.gpt2.sizes import GPTConfig
from lib.progress import NOBODY
from lib.store.artifacts import Artifact
from lib.store.folder import FolderStore
from tests.support.procedure import checkpoint
from tests.support.saved import write_weights
from tests.support.steps import TEXTS, finetuned, write_data

pytestmark = pytest.mark.slow

LORA = {"keep": True, "rank": 2, "alpha": 8, "blocks": 1}


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training without the pages of MLflow and Prefect."""
    monkeypatch.setattr("tasks.steps.together.watched", lambda work, step: nullcontext(NOBODY))


def adapted(store: FolderStore, folder: Path, weights: Path | str, **classifier: Any) -> Artifact:
    data = write_data(folder, {})
    return finetuned(store, data, weights, classifier={"trainable": "lora", **classifier}, lora=LORA)


def require_same(made: Artifact, base: Path) -> None:
    from peft import PeftModel

    predictor = Predictor.load(made.folder, device="cpu")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=3, pad_token_id=predictor.tokenizer.pad
    )
    model = PeftModel.from_pretrained(model, made.folder / "adapter").eval()
    for text, ours in zip(TEXTS, predictor.predict(TEXTS), strict=True):
        (tokens,) = predictor.tokenizer.encode([text])
        with torch.no_grad():
            (found,) = model(input_ids=torch.tensor([tokens])).logits.softmax(dim=1).tolist()
        assert found == pytest.approx(list(ours.probabilities.values()), abs=1e-5)


@pytest.mark.parametrize("family", ["BERT", "RoBERTa", "Llama", "GPT-2"])
def test_peft_gives_our_probabilities(family: str, store: FolderStore, tmp_path: Path) -> None:
    base = write_weights(family, tmp_path / "weights")
    require_same(adapted(store, tmp_path, base), base)


def test_our_gpt2s_adapters_have_the_names_of_transformers(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    base = checkpoint(tmp_path / "weights", GPTConfig(context_length=24, emb_dim=16, n_heads=2, n_layers=2))
    require_same(adapted(store, tmp_path, base), base)


def test_our_gpt2_has_no_more_labels_than_dimensions(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    base = checkpoint(tmp_path / "weights", GPTConfig(context_length=24, emb_dim=2, n_heads=1, n_layers=1))
    with pytest.raises(FinetuneError, match=r"lora\.keep is true, but the classifier has 3 labels and 2 dimensions"):
        adapted(store, tmp_path, base)


def test_what_no_class_could_load_is_refused_before_the_training(store: FolderStore, tmp_path: Path) -> None:
    base = write_weights("BERT", tmp_path / "weights")
    with pytest.raises(FinetuneError, match=r"for bert has classifier\.pooling 'mean' .*: train with .* 'cls' and"):
        adapted(store, tmp_path, base, pooling="mean")
    with pytest.raises(FinetuneError, match=r"lora\.keep is true, but model\.weights 'scratch' is no base"):
        adapted(store, tmp_path, "scratch")
