"""A classifier that goes on with the head of its weights: one of our own, or one of others."""

from __future__ import annotations

import json
import logging
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from lib.errors import FinetuneError
from lib.inference.predictor import Predictor
from lib.progress import NOBODY
from lib.store.folder import FolderStore
from tests.support.saved import write_weights
from tests.support.steps import TEXTS, WORDS, finetuned, write_data

pytestmark = pytest.mark.slow

STILL = {"training": {"learning_rate": 1e-12, "epochs": 1}}  # nothing moves


def probabilities(folder: Path) -> dict[str, list[float]]:
    found = list(Predictor.load(folder, device="cpu").predict(TEXTS))
    return {label: [each.probabilities[label] for each in found] for label in found[0].probabilities}


def require_same(one: dict[str, list[float]], other: dict[str, list[float]]) -> None:
    assert one.keys() == other.keys()
    for label, row in one.items():
        assert other[label] == pytest.approx(row, abs=1e-5)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    """One store for all tests here, which share what is the same in their runs."""
    return FolderStore(tmp_path_factory.mktemp("shared") / "store")


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training without the pages of MLflow and Prefect."""
    monkeypatch.setattr("tasks.steps.together.watched", lambda work, step: nullcontext(NOBODY))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path, {})


@pytest.mark.parametrize(("family", "pooling"), [("BERT", "auto"), ("BERT", "mean"), ("Llama", "auto")])
def test_a_network_of_transformers_goes_on_where_it_was(
    family: str, pooling: str, data: Path, store: FolderStore, tmp_path: Path
) -> None:
    weights = write_weights(family, tmp_path / "weights")
    first = finetuned(store, data, weights, classifier={"pooling": pooling}).folder
    again = finetuned(store, data, first, classifier={"head": "keep"}, **STILL).folder
    require_same(probabilities(first), probabilities(again))


@pytest.mark.parametrize("pooling", ["auto", "mean"])
def test_our_gpt2_goes_on_where_it_was(pooling: str, data: Path, store: FolderStore) -> None:
    first = finetuned(store, data, "scratch", classifier={"pooling": pooling}).folder
    again = finetuned(store, data, first, classifier={"head": "keep"}, **STILL).folder
    require_same(probabilities(first), probabilities(again))


def test_a_head_of_others_has_its_labels_in_another_order(data: Path, store: FolderStore, tmp_path: Path) -> None:
    """A classifier that transformers made, with its labels from the last to the first."""
    first = finetuned(store, data, write_weights("BERT", tmp_path / "weights")).folder
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(first)
    with torch.no_grad():
        theirs.classifier.weight.copy_(theirs.classifier.weight.flip(0))
        theirs.classifier.bias.copy_(theirs.classifier.bias.flip(0))
    theirs.config.id2label = dict(enumerate(reversed(WORDS)))
    theirs.save_pretrained(tmp_path / "theirs")
    transformers.AutoTokenizer.from_pretrained(first).save_pretrained(tmp_path / "theirs")
    again = finetuned(store, data, tmp_path / "theirs", classifier={"head": "keep"}, **STILL).folder
    require_same(probabilities(first), probabilities(again))


def test_rows_of_our_gpt2s_head_are_put_into_order_too(data: Path, store: FolderStore, tmp_path: Path) -> None:
    first = finetuned(store, data, "scratch").folder
    other = tmp_path / "other"
    other.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (other / name).write_bytes((first / name).read_bytes())
    fields = json.loads((first / "config.json").read_text())
    fields["id2label"] = {str(index): label for index, label in enumerate(reversed(list(WORDS)))}
    (other / "config.json").write_text(json.dumps(fields))
    tensors = load_file(first / "model.safetensors")
    tensors["score.weight"] = tensors["score.weight"].flip(0).contiguous()
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    again = finetuned(store, data, other, classifier={"head": "keep"}, **STILL).folder
    require_same(probabilities(first), probabilities(again))


def test_a_new_head_begins_anew_and_the_log_says_what_could_be_kept(
    data: Path, store: FolderStore, caplog: pytest.LogCaptureFixture
) -> None:
    first = finetuned(store, data, "scratch").folder
    caplog.set_level(logging.INFO)
    assert "classifier.head keep" not in caplog.text
    again = finetuned(store, data, first, **STILL).folder
    assert probabilities(again) != probabilities(first)
    assert f"the head is new; classifier.head keep would go on with that of {first}" in caplog.text


def test_what_cannot_be_kept_is_one_sentence(data: Path, store: FolderStore, tmp_path: Path) -> None:
    first = finetuned(store, data, "scratch").folder
    renamed = write_data(tmp_path, {"spam": "junk"})
    keep = {"head": "keep"}
    refused = {
        "the labels ham, other, spam, and the data has ham, junk, other: set classifier.head to 'new'": (renamed, keep),
        r"classifier\.pooling is 'mean', and the head of .* was trained with 'last_token': set classifier\.pooling to"
        r" that, or set classifier\.head to 'new'": (data, {**keep, "pooling": "mean"}),
    }
    computed = list((store.root / "features").iterdir())
    for sentence, (file, classifier) in refused.items():
        with pytest.raises(FinetuneError, match=sentence):
            finetuned(store, file, first, classifier=classifier)
    assert list((store.root / "features").iterdir()) == computed  # refused before the frozen part ran
    with pytest.raises(FinetuneError, match=r"has no head that gives one label .*: set classifier\.head to 'new'"):
        finetuned(store, data, write_weights("BERT", tmp_path / "weights"), classifier=keep)
    with pytest.raises(FinetuneError, match=r"classifier\.head is 'keep', but model\.weights 'scratch' has no head"):
        finetuned(store, data, "scratch", classifier=keep)
