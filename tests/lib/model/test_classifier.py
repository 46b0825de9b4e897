import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from lib.errors import LabelError, MessagesError, RecipeError, WeightsError
from lib.model.backbone import Pooling
from lib.model.classifier import (
    Classifier,
    class_probabilities,
    freeze,
    load_classifier,
    new_classifier,
    save_classifier,
)
from lib.model.features.file import Features, write_features
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.sizes import GPTConfig
from lib.model.machine.device import device_name
from lib.model.trainable import Trainable
from lib.model.usage import Usage, load_usage
from lib.text.batching import Padding

CONFIG = GPTConfig(context_length=16, emb_dim=8, n_heads=2, n_layers=3)
SEQUENCES = [[5, 6, 7], [8], [9, 10, 11, 12, 13], [5, 6], [7, 7, 7, 7]]


def classifier(pooling: Pooling = "last_token", labels: tuple[str, ...] = ("ham", "spam", "other")) -> Classifier:
    return new_classifier(PooledGPT(new_gpt(CONFIG, seed=1), pooling=pooling), labels, trainable="all", seed=2).eval()


def learning(model: Classifier) -> set[str]:
    """The trainable submodules, two levels deep."""
    return {
        ".".join(name.split(".")[: 4 if ".blocks." in name else 3])
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def test_the_head_is_made_as_the_published_procedure_makes_it() -> None:
    torch.manual_seed(2)
    expected = nn.Linear(8, 3)
    torch.manual_seed(77)
    before = torch.get_rng_state()
    head = classifier().head
    assert torch.equal(head.weight, expected.weight)
    assert torch.equal(head.bias, expected.bias)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("trainable", "parts"),
    [
        ("head", set()),
        ("last_block", {"backbone.gpt.final_norm", "backbone.gpt.blocks.2"}),
        ("last_two_blocks", {"backbone.gpt.final_norm", "backbone.gpt.blocks.2", "backbone.gpt.blocks.1"}),
    ],
)
def test_freeze_lets_only_the_named_part_learn(trainable: Trainable, parts: set[str]) -> None:
    model = classifier()
    freeze(model, trainable)
    assert learning(model) == parts | {"head.weight", "head.bias"}


def test_freeze_all_lets_everything_learn() -> None:
    model = classifier()
    freeze(model, "head")
    freeze(model, "all")
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_an_output_matrix_which_no_answer_passes_never_learns() -> None:
    untied = new_gpt(replace(CONFIG, tied_output=False), seed=1)
    model = new_classifier(PooledGPT(untied, pooling="mean"), ("a", "b"), trainable="all", seed=2)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"backbone.gpt.output.weight"}


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("last_token", lambda hidden: hidden[2]),
        ("padded_last", lambda hidden: hidden[4]),
        ("first_token", lambda hidden: hidden[0]),
        ("mean", lambda hidden: hidden[:3].mean(dim=0)),
    ],
)
def test_pooling_feeds_the_head_with_its_position(pooling: Pooling, expected: Callable[[Tensor], Tensor]) -> None:
    model = classifier(pooling)
    tokens = torch.tensor([[5, 6, 7, 50256, 50256], [1, 2, 3, 4, 5]])
    logits = model(tokens, torch.tensor([3, 5]))
    assert logits.shape == (2, 3)
    torch.testing.assert_close(logits[0], model.head(expected(cast(PooledGPT, model.backbone).gpt.hidden(tokens)[0])))


@pytest.mark.parametrize("pooling", ["last_token", "first_token", "mean"])
def test_probabilities_do_not_depend_on_padding_or_batches(pooling: Pooling) -> None:
    model = classifier(pooling)
    alone = np.concatenate([class_probabilities(model, [s], padding="batch", max_length=8) for s in SEQUENCES])
    ways: list[tuple[Padding, int]] = [("batch", 6), ("longest", 64), (16, 48)]
    for padding, batch_tokens in ways:
        together = class_probabilities(model, SEQUENCES, padding=padding, max_length=8, batch_tokens=batch_tokens)
        np.testing.assert_allclose(together, alone, atol=1e-6)


def test_padding_that_no_pooling_reads_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    forward = Classifier.forward

    def watched(self: Classifier, inputs: Tensor, lengths: Tensor) -> Tensor:
        seen.append(inputs.shape[1])
        return forward(self, inputs, lengths)

    monkeypatch.setattr(Classifier, "forward", watched)
    class_probabilities(classifier(), SEQUENCES, padding=16, max_length=8)
    class_probabilities(classifier("padded_last"), SEQUENCES, padding=16, max_length=8)
    assert seen == [max(map(len, SEQUENCES)), 16]


def test_features_of_another_cut_are_refused(tmp_path: Path) -> None:
    model = classifier()
    freeze(model, "last_block")
    for blocks in (1, model.backbone.cut):
        write_features(
            tmp_path / "f", model.backbone, SEQUENCES, range(5), blocks=blocks, dtype="float32", scratch=tmp_path / "s"
        )
        features = Features(tmp_path / "f", range(5))
        if blocks == model.backbone.cut:
            class_probabilities(model, features, padding="batch", max_length=8)
        else:
            with pytest.raises(ValueError, match="features after 1 blocks, and the classifier learns from block 2 on"):
                class_probabilities(model, features, padding="batch", max_length=8)


def test_probabilities_are_a_softmax_in_the_order_of_the_sequences() -> None:
    model = classifier()
    probabilities = class_probabilities(model, SEQUENCES, padding="batch", max_length=8, batch_tokens=6)
    assert probabilities.dtype == np.float64
    assert probabilities.shape == (5, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)
    for sequence, row in zip(SEQUENCES, probabilities, strict=True):
        logits = model(torch.tensor([sequence]), torch.tensor([len(sequence)]))
        np.testing.assert_allclose(row, logits.softmax(dim=1)[0].detach(), atol=1e-6)


def test_probabilities_leave_mode_and_gradients_alone_and_report_progress() -> None:
    model = classifier().train()
    heard: list[tuple[int, int | None, str]] = []
    class_probabilities(
        model, SEQUENCES, padding="batch", max_length=8, batch_tokens=6, progress=lambda *step: heard.append(step)
    )
    assert model.training
    assert all(parameter.grad is None and not parameter.is_inference() for parameter in model.parameters())
    assert heard == [(2, 5, "messages"), (3, 5, "messages"), (4, 5, "messages"), (5, 5, "messages")]


def test_sequences_are_cut_to_max_length() -> None:
    model = classifier()
    cut = class_probabilities(model, [[1, 2, 3, 4]], padding="batch", max_length=2)
    assert np.array_equal(cut, class_probabilities(model, [[1, 2]], padding="batch", max_length=2))


def test_bfloat16_gives_nearly_the_same_probabilities() -> None:
    model = classifier()
    exact = class_probabilities(model, SEQUENCES, padding="batch", max_length=8)
    rough = class_probabilities(model, SEQUENCES, padding="batch", max_length=8, precision="bfloat16")
    assert not np.array_equal(rough, exact)
    np.testing.assert_allclose(rough, exact, atol=0.02)


def test_no_sequences_give_no_rows() -> None:
    assert class_probabilities(classifier(), [], padding="batch", max_length=8).shape == (0, 3)


def test_bad_input_to_probabilities_is_refused() -> None:
    model = classifier()
    with pytest.raises(MessagesError, match="no tokens"):
        class_probabilities(model, [[1], []], padding="batch", max_length=8)
    with pytest.raises(RecipeError, match=r"encoding\.max_length is 17"):
        class_probabilities(model, [[1]], padding="batch", max_length=17)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_missing_cuda_device_is_said() -> None:
    assert device_name("auto") == device_name("cpu") == "cpu"
    with pytest.raises(RecipeError, match=r"training\.device is cuda"):
        device_name("cuda")


def test_labels_and_vocabulary_are_checked() -> None:
    with pytest.raises(LabelError, match="two or more different labels"):
        classifier(labels=("ham",))
    with pytest.raises(LabelError, match="two or more different labels"):
        classifier(labels=("ham", "ham"))
    with pytest.raises(WeightsError, match="knows 100 tokens"):
        PooledGPT(new_gpt(GPTConfig(16, 8, 2, 1, 100), seed=0), pooling="mean")


USAGE = Usage(max_length=8, padding="batch", precision="float32")


def save(folder: Path, model: Classifier) -> Path:
    folder.mkdir()
    save_classifier(folder, model, USAGE)
    return folder


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    model = classifier("mean", labels=("härlig", "spam 💥"))
    again = load_classifier(save(tmp_path / "saved", model))
    assert (again.labels, again.backbone.pooling, again.training) == (("härlig", "spam 💥"), "mean", False)
    assert load_usage(tmp_path / "saved") == USAGE
    tokens, lengths = torch.tensor([[1, 2, 3]]), torch.tensor([2])
    assert torch.equal(again(tokens, lengths), model(tokens, lengths))


def test_saved_files_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    model = classifier()
    first, second = save(tmp_path / "one", model), save(tmp_path / "two", copy.deepcopy(model))
    names = sorted(file.name for file in first.iterdir())
    assert names == ["config.json", "inference.json", "labels.json", "model.safetensors"]
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_saved_tensors_have_no_copy_of_the_output_matrix(tmp_path: Path) -> None:
    tensors = load_file(save(tmp_path / "saved", classifier()) / "model.safetensors")
    assert {name.partition(".")[0] for name in tensors} == {"transformer", "score"}
    vocabulary = [name for name, tensor in tensors.items() if CONFIG.vocab_size in tensor.shape]
    assert vocabulary == ["transformer.wte.weight"]


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("inference.json", None, r"inference\.json does not exist"),
        ("inference.json", "{", r"inference\.json is not JSON"),
        ("inference.json", "{}", r"inference\.json has pooling = None"),
        ("inference.json", '{"pooling": "first", "cut": 0}', r"inference\.json has pooling = 'first'"),
        ("inference.json", '{"pooling": "mean"}', r"inference\.json has cut = None"),
        ("labels.json", "{}", r"labels\.json must contain a JSON list"),
        ("labels.json", '["one", "two"]', r"score\.weight has the shape \[3, 8\], not \[2, 8\]"),
        ("model.safetensors", "rubbish", "is damaged"),
        ("config.json", None, r"config\.json does not exist"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path: Path, file: str, content: str | None, reason: str) -> None:
    folder = save(tmp_path / "saved", classifier())
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(WeightsError, match=reason):
        load_classifier(folder)
