"""Every family, at a tiny shape: cut at any block, batched, narrowed, trained, saved, and read by transformers."""

from __future__ import annotations

from collections.abc import Sequence
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from lib.errors import RecipeError
from lib.model.backbone import Pooling
from lib.model.classifier import Classifier, class_probabilities, load_classifier, new_classifier, save_classifier
from lib.model.features.file import Features, write_features
from lib.model.hugging_face.check import inspect_network
from lib.model.hugging_face.limits import context_length_of
from lib.model.hugging_face.narrow import Narrowing
from lib.model.hugging_face.pooled import PooledTransformer, load_backbone
from lib.model.padding import pad_batch
from lib.model.trainable import Trainable
from lib.model.usage import Usage
from lib.progress import Listener
from lib.training.batches import EncodedMessages
from lib.training.classify.finetune import finetune
from lib.training.settings import Settings
from tests.support.families import CLASSIFIERS, DECODERS, FAMILIES, SIZES, WORDS, write_family

LABELS = ("ham", "other", "spam")
MASKED = ("OPT",)  # decoders that are nothing without their causal mask: OPT makes its positions of it
WITHIN = 1e-5
RANDOM = np.random.default_rng(0)
TEXTS = [RANDOM.integers(5, WORDS, length).tolist() for length in (20, 3, 13, 7, 1)]


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(family, tmp_path_factory.mktemp("family"))


def pad_of(family: str) -> int:
    return int(FAMILIES[family][1].get("pad_token_id", 0))


def backbone(folder: Path, family: str, **changes: Any) -> PooledTransformer:
    pooling: Pooling = "cls" if family in CLASSIFIERS else "last_token"
    settings = {"pooling": pooling, "context_length": 64, "pad": pad_of(family), "seed": 1, **changes}
    return load_backbone(folder, LABELS, **settings)


def classifier(folder: Path, family: str, trainable: Trainable = "last_block", **changes: Any) -> Classifier:
    return new_classifier(backbone(folder, family, **changes), LABELS, trainable=trainable, seed=1).eval()


def logits(model: Classifier, texts: Sequence[Any]) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(*pad_batch(texts, pad=model.backbone.pad))
    return result


def test_it_is_told_what_it_is(folder: Path, family: str) -> None:
    network = inspect_network(folder, TEXTS, vocabulary=WORDS, pad=pad_of(family))
    assert (network.width, network.depth, network.heads, network.vocabulary) == (32, 4, 4, WORDS)
    assert network.causal == (family in DECODERS)
    assert network.uncut is None
    assert context_length_of(folder) == 64


def test_features_give_the_logits_of_the_whole_network(folder: Path, family: str, tmp_path: Path) -> None:
    model = classifier(folder, family)
    whole = logits(model, TEXTS)
    alone = torch.cat([logits(model, [text]) for text in TEXTS])
    assert torch.allclose(whole, alone, rtol=0, atol=WITHIN)
    for blocks in range(1, 5):
        file = tmp_path / f"{blocks}.safetensors"
        write_features(file, model.backbone, TEXTS, range(5), blocks=blocks, dtype="float32", scratch=tmp_path / "part")
        model.backbone.cut = blocks
        features = Features(file, range(5))
        assert torch.allclose(logits(model, list(features)), whole, rtol=0, atol=WITHIN), blocks
        assert torch.allclose(torch.cat([logits(model, [each]) for each in features]), whole, rtol=0, atol=WITHIN)


def test_the_last_block_computes_one_position(folder: Path, family: str) -> None:
    network = backbone(folder, family)
    network.freeze("last_block")
    tokens, lengths = pad_batch(TEXTS, pad=network.pad)
    with torch.no_grad():
        narrowed = network.pooled(tokens, lengths)
        found = network._narrowing
        assert found is not None
        assert len(found.one) >= 1
        assert found.attention is network.blocks.modules[-1]
        network._narrowing = Narrowing()
        assert torch.allclose(network.pooled(tokens, lengths), narrowed, rtol=0, atol=WITHIN)


def settings(**changes: Any) -> Settings:
    fields: dict[str, Any] = {
        "epochs": 4,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "evaluate_every": 10,
        "evaluate_batches": 2,
        "device": "cpu",
    }
    return Settings(**fields | changes)


def split(count: int, seed: int) -> EncodedMessages:
    """Texts whose first third of the vocabulary, second, or last is their class."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 3, count).tolist()
    texts = [(5 + 38 * target + random.integers(0, 38, random.integers(2, 12))).tolist() for target in targets]
    return EncodedMessages(texts, targets)


SPLITS = {"train": split(40, 1), "validation": split(12, 2)}


def test_the_last_block_learns(folder: Path, family: str, tmp_path: Path) -> None:
    learned, losses = learning(backbone(folder, family), "last_block", tmp_path)
    assert learned == {3}
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("family", ["BERT", "Llama"])
@pytest.mark.parametrize(
    ("trainable", "blocks"), [("head", set()), ("last_two_blocks", {2, 3}), ("all", {0, 1, 2, 3}), ("lora", {2, 3})]
)
def test_each_part_means_the_same(family: str, trainable: Trainable, blocks: set[int], tmp_path: Path) -> None:
    network = backbone(write_family(family, tmp_path / "weights"), family)
    assert learning(network, trainable, tmp_path)[0] == blocks


def learning(network: PooledTransformer, trainable: Trainable, folder: Path) -> tuple[set[int], list[float]]:
    """Trains the part for 20 steps; returns the blocks that changed, and the losses. Embeddings change with `all`
    only, and the head always."""
    adapt = None
    if trainable == "lora":
        adapt = methodcaller("add_adapters", rank=2, alpha=4, dropout=0.0, layers=None, blocks=2)
    model = new_classifier(network, LABELS, trainable=trainable, seed=1, adapt=adapt)
    before = {
        name.replace(".base_layer", ""): tensor.clone()
        for name, tensor in model.state_dict().items()
        if ".lora_" not in name
    }
    trained = finetune(model, SPLITS, settings=settings(), padding="batch", max_length=16, scratch=folder / "scratch")
    after = model.state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(after[name], tensor)}
    places = {id(module): index for index, module in enumerate(network.blocks.modules)}
    learned = {
        places[id(module)]
        for name, module in model.named_modules()
        if id(module) in places and any(each.startswith(f"{name}.") for each in changed)
    }
    assert {"head.weight"} <= changed
    assert any("embed" in name for name in changed) == (trainable == "all")
    return learned, trained.history["train_loss"].tolist()


def test_what_is_saved_is_read_by_us_and_by_transformers(folder: Path, family: str, tmp_path: Path) -> None:
    model = classifier(folder, family)
    usage = Usage(max_length=16, padding="batch", precision="float32")
    save_classifier(tmp_path, model, usage)
    wanted = logits(model, TEXTS).softmax(dim=1)
    ours = class_probabilities(load_classifier(tmp_path), TEXTS, padding="batch", max_length=64, device="cpu")
    assert np.abs(ours - wanted.numpy()).max() < WITHIN
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert theirs.config.id2label == dict(enumerate(LABELS))
    tokens, lengths = pad_batch(TEXTS, pad=model.backbone.pad)
    mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
    with torch.no_grad():
        found = theirs(input_ids=tokens, attention_mask=mask).logits.softmax(dim=1)
    assert (found - wanted).abs().max() < WITHIN


def test_a_pooling_that_the_family_does_not_have_is_refused_by_transformers(
    folder: Path, family: str, tmp_path: Path
) -> None:
    pooling: Pooling = "first_token" if family == "ModernBERT" else "mean"  # ModernBERT's own classifier has the mean
    model = classifier(folder, family, pooling=pooling)
    save_classifier(tmp_path, model, Usage(max_length=16, padding="batch", precision="float32"))
    assert torch.equal(logits(load_classifier(tmp_path), TEXTS), logits(model, TEXTS))
    with pytest.raises(ValueError, match="finetune-flows-classifier"):
        transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)


def test_a_family_that_cannot_be_cut_says_so_and_learns_whole(tmp_path: Path) -> None:
    config = transformers.AlbertConfig(**SIZES, embedding_size=16)
    transformers.AlbertModel(config).save_pretrained(tmp_path / "weights")
    network = inspect_network(tmp_path / "weights", TEXTS, vocabulary=WORDS, pad=0)
    assert network.uncut == "it has no list of 4 blocks, one after the other"
    model = load_backbone(tmp_path / "weights", LABELS, pooling="cls", context_length=64, pad=0, seed=1)
    with pytest.raises(RecipeError, match=r"'last_block', but albert cannot be cut .* choose 'all', or 'head'"):
        model.freeze("last_block")
    classifier = new_classifier(model, LABELS, trainable="all", seed=1)
    trained = finetune(classifier, SPLITS, settings=settings(), padding="batch", max_length=16, scratch=tmp_path / "s")
    assert trained.history["train_loss"].iloc[-1] < trained.history["train_loss"].iloc[0]


@pytest.mark.parametrize("family", [name for name in DECODERS if name not in MASKED])
def test_a_decoder_without_its_causal_mask_sees_what_follows(family: str, tmp_path: Path) -> None:
    folder = write_family(family, tmp_path)
    model = classifier(folder, family, pooling="first_token", causal_mask=False)
    texts = [TEXTS[0], [*TEXTS[0][:-1], 7], TEXTS[1]]
    found = logits(model, texts)
    assert not torch.allclose(found[0], found[1])
    assert torch.allclose(found, torch.cat([logits(model, [text]) for text in texts]), rtol=0, atol=WITHIN)


@pytest.mark.parametrize("family", MASKED)
def test_a_decoder_that_needs_its_mask_says_so(family: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model\.causal_mask is false, and \w+ cannot be computed without"):
        backbone(write_family(family, tmp_path), family, pooling="first_token", causal_mask=False)


class KilledError(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("family", ["BERT", "Llama"])
def test_an_interrupted_training_ends_the_same(family: str, tmp_path: Path) -> None:
    folder = write_family(family, tmp_path / "weights")

    def train(scratch: Path, stop: int | None = None) -> Classifier:
        model = classifier(folder, family)

        def note(done: int, total: int | None, unit: str) -> None:
            if stop is not None and done == stop:
                raise KilledError

        finetune(
            model,
            SPLITS,
            settings=settings(checkpoint_every=3),
            padding="batch",
            max_length=16,
            scratch=scratch,
            listener=Listener(progress=note),
        )
        return model

    whole = train(tmp_path / "whole")
    with pytest.raises(KilledError):
        train(tmp_path / "killed", stop=8)
    resumed = train(tmp_path / "killed")
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
