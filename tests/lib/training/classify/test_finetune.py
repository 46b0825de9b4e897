import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lib.errors import FinetuneError, LabelError, MessagesError, RecipeError, TrainingError
from lib.model.classifier import Classifier, class_probabilities, freeze
from lib.model.features.file import Features, write_features
from lib.model.gpt2.pooled import PooledGPT
from lib.text.batching import Padding
from lib.training.batches import EncodedMessages
from tests.support.toy_training import MAX_LENGTH, TRAIN, VALIDATION, classifier, messages, train

pytestmark = pytest.mark.slow

# Losses that the published script's own functions gave for this classifier, these messages and this seed: after
# the first batch, the sixth and the eleventh.
PUBLISHED_TRAIN_LOSS = [0.737163, 0.697996, 0.685833]
PUBLISHED_VALIDATION_LOSS = [0.661551, 0.693244, 0.665850]


def weights(model: Classifier) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Equal weights but for rounding. The biases of the attention's keys are left out: they change nothing, since
    softmax ignores what all scores share, so their gradients are rounding errors, which AdamW makes full steps of."""
    for name, tensor in theirs.items():
        real = torch.ones(len(tensor), dtype=torch.bool)
        if name.endswith("qkv.bias"):
            real[len(tensor) // 3 : len(tensor) // 3 * 2] = False
        torch.testing.assert_close(ours[name][real], tensor[real], rtol=0, atol=1e-4)


def published_procedure(
    model: Classifier, *, epochs: int, learning_rate: float, evaluate_every: int, evaluate_batches: int
) -> tuple[list[tuple[int, float, float]], list[tuple[float, float]]]:
    """The published training written down once more with torch's own loaders: losses, accuracies at epochs' ends."""

    def loader(split: EncodedMessages, **options: Any) -> DataLoader[tuple[Tensor, ...]]:
        padded = [[*tokens, *[50256] * (MAX_LENGTH - len(tokens))] for tokens in split.inputs]
        return DataLoader(TensorDataset(torch.tensor(padded), torch.tensor(split.targets)), batch_size=8, **options)

    def logits(tokens: Tensor) -> Tensor:
        return cast(Tensor, model.head(cast(PooledGPT, model.backbone).gpt.hidden(tokens)[:, -1]))

    def measure(batches: Iterable[tuple[Tensor, ...]]) -> tuple[float, float]:
        losses, hits, seen = [], 0, 0
        for number, (tokens, targets) in enumerate(batches):
            if number >= evaluate_batches:
                break
            scores = logits(tokens)
            losses.append(F.cross_entropy(scores, targets).item())
            hits, seen = hits + int((scores.argmax(1) == targets).sum()), seen + len(targets)
        return sum(losses) / len(losses), hits / seen

    train_loader, validation_loader = loader(TRAIN, shuffle=True, drop_last=True), loader(VALIDATION)
    torch.manual_seed(123)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.1)
    losses: list[tuple[int, float, float]] = []
    accuracies: list[tuple[float, float]] = []
    step = -1
    for _ in range(epochs):
        for tokens, targets in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(logits(tokens), targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
            if step % evaluate_every == 0:
                with torch.no_grad():
                    losses.append((step, measure(train_loader)[0], measure(validation_loader)[0]))
        with torch.no_grad():
            accuracies.append((measure(train_loader)[1], measure(validation_loader)[1]))
    return losses, accuracies


def test_numbers_are_those_of_the_published_procedure() -> None:
    model, theirs = classifier(), classifier()
    history = train(model).history
    losses, accuracies = published_procedure(theirs, epochs=3, learning_rate=5e-3, evaluate_every=5, evaluate_batches=3)
    measured = history[history.step % 5 == 0].drop_duplicates("step")
    expected = np.array(losses)
    np.testing.assert_array_equal(measured.step, expected[:, 0])
    np.testing.assert_allclose(measured[["train_loss", "validation_loss"]], expected[:, 1:], atol=1e-4)
    ends = history[history.epoch % 1 == 0].drop_duplicates("step", keep="last")
    np.testing.assert_array_equal(ends[["train_accuracy", "validation_accuracy"]], accuracies)
    assert_close(weights(model), weights(theirs))


def test_first_losses_are_those_of_the_published_script() -> None:
    history = train(classifier(), epochs=1).history
    np.testing.assert_allclose(history.train_loss[:3], PUBLISHED_TRAIN_LOSS, atol=1e-4)
    np.testing.assert_allclose(history.validation_loss[:3], PUBLISHED_VALIDATION_LOSS, atol=1e-4)


@pytest.mark.parametrize("padding", ["longest", "batch", 25])
def test_the_same_seed_gives_the_same_bits(padding: Padding) -> None:
    first, second = classifier(dropout=0.1, trainable="all"), classifier(dropout=0.1, trainable="all")
    one, two = train(first, padding=padding, epochs=2), train(second, padding=padding, epochs=2)
    assert same(weights(first), weights(second))
    assert one.history.drop(columns="seconds").equals(two.history.drop(columns="seconds"))
    other = classifier(dropout=0.1, trainable="all")
    train(other, padding=padding, seed=124, epochs=1)
    assert not same(weights(first), weights(other))


def as_features(split: EncodedMessages, model: Classifier, file: Path, *, blocks: int) -> EncodedMessages:
    """The messages as what leaves the first blocks, kept in `file`."""
    tokens, ids = cast(Sequence[Sequence[int]], split.inputs), range(len(split.inputs))
    write_features(file, model.backbone, tokens, ids, blocks=blocks, dtype="float32", scratch=file.parent / "scratch")
    return EncodedMessages(Features(file, ids), split.targets)


@pytest.mark.parametrize("pooling", ["last_token", "first_token", "mean"])
@pytest.mark.parametrize(
    ("trainable", "padding"), [("head", "batch"), ("last_block", "batch"), ("last_two_blocks", 25)]
)
def test_features_give_the_losses_of_the_whole_model(
    tmp_path: Path, trainable: str, padding: str | int, pooling: str
) -> None:
    whole, part = (classifier(trainable=trainable, pooling=pooling) for _ in range(2))
    kept: dict[str, Any] = {
        name: as_features(split, part, tmp_path / name, blocks=part.backbone.cut)
        for name, split in (("train", TRAIN), ("validation", VALIDATION))
    }
    settings: dict[str, Any] = {"padding": padding, "epochs": 1, "evaluate_every": 1, "evaluate_batches": None}
    expected, found = train(whole, **settings).history, train(part, **settings, **kept).history
    np.testing.assert_allclose(found.train_loss, expected.train_loss, atol=1e-5)
    np.testing.assert_allclose(found.validation_loss, expected.validation_loss, atol=1e-5)
    assert found.train_accuracy.equals(expected.train_accuracy)
    assert found.tokens_seen.equals(expected.tokens_seen)


def test_features_of_another_part_are_refused(tmp_path: Path) -> None:
    model = classifier(trainable="last_two_blocks")
    features = as_features(TRAIN, model, tmp_path / "f", blocks=2)
    with pytest.raises(ValueError, match="features after 2 blocks, and the classifier learns from block 1 on"):
        train(model, train=features, padding="batch")


def test_history_counts_steps_examples_tokens_and_epochs() -> None:
    rows: list[dict[str, Any]] = []
    history = train(classifier(), padding="batch", evaluate_every=6, epochs=2, on_row=rows.append).history
    assert history.step.tolist() == [0, 6, 12, 12, 18, 24, 25]
    np.testing.assert_allclose(history.epoch, np.array([1, 7, 13, 13, 19, 25, 26]) / 13)
    assert history.examples_seen.tolist()[-1] == 200
    assert history.tokens_seen.tolist()[-1] == 2 * sum(len(tokens) for tokens in TRAIN.inputs)
    assert (history.learning_rate == 5e-3).all()
    assert history.seconds.is_monotonic_increasing
    assert rows == history.to_dict("records")


def test_progress_counts_every_batch() -> None:
    heard: list[tuple[int, int | None, str]] = []
    train(classifier(), epochs=2, progress=lambda *step: heard.append(step))
    assert heard == [(step, 24, "steps") for step in range(1, 25)]


def test_only_what_is_not_frozen_changes_and_the_classifier_comes_back_ready() -> None:
    model = classifier()
    before = weights(model)
    train(model)
    changed = {name for name, tensor in weights(model).items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_training_all_trains_the_token_embedding() -> None:
    model = classifier(trainable="all")
    before = weights(model)
    train(model, epochs=1, padding="batch")
    seen = TRAIN.inputs[0][0]
    name = "backbone.gpt.token_embedding.weight"
    assert not torch.allclose(weights(model)[name][seen], before[name][seen], atol=1e-3)


def test_it_learns() -> None:
    model = classifier(pooling="mean", trainable="all")
    history = train(model, padding="batch", epochs=8, evaluate_batches=None).history
    assert history.validation_accuracy.iloc[-1] > 0.9
    assert history.validation_loss.iloc[-1] < 0.5 * history.validation_loss.iloc[0]


def test_an_evaluation_measures_what_class_probabilities_gives() -> None:
    model = classifier(pooling="last_token")
    history = train(model, padding="batch", evaluate_batches=None).history
    probabilities = class_probabilities(model, VALIDATION.inputs, padding="batch", max_length=MAX_LENGTH)
    right = probabilities.argmax(axis=1) == VALIDATION.targets
    assert history.validation_accuracy.iloc[-1] == right.mean()


def test_best_weights_are_those_of_the_lowest_validation_loss() -> None:
    swapped = EncodedMessages(VALIDATION.inputs, [1 - target for target in VALIDATION.targets])  # gets worse soon
    fields: dict[str, Any] = {"validation": swapped, "evaluate_every": 1, "evaluate_batches": None, "padding": "batch"}
    model, last = classifier(pooling="mean", trainable="all"), classifier(pooling="mean", trainable="all")
    tuned = train(model, keep="best", **fields)
    assert tuned.kept == tuned.history.validation_loss.argmin()
    assert train(last, **fields).kept == len(tuned.history) - 1 > tuned.kept
    assert not same(weights(model), weights(last))
    probabilities = class_probabilities(model, VALIDATION.inputs, padding="batch", max_length=MAX_LENGTH)
    right = probabilities.argmax(axis=1) == swapped.targets
    assert tuned.history.validation_accuracy[tuned.kept] == right.mean()


def test_patience_stops_after_epochs_without_a_lower_loss() -> None:
    fields: dict[str, Any] = {"learning_rate": 0.1, "evaluate_every": 1000, "epochs": 12, "padding": "batch"}
    full = train(classifier(), **fields).history
    stopped = train(classifier(), patience=2, **fields).history
    best = stopped.validation_loss.argmin()
    assert len(stopped) < len(full)
    assert stopped.epoch.iloc[-1] == np.ceil(stopped.epoch[best]) + 2
    assert stopped.drop(columns="seconds").equals(full.drop(columns="seconds")[: len(stopped)])


def test_accumulation_makes_one_step_of_several_batches() -> None:
    at_once, in_parts = classifier(), classifier()
    fields: dict[str, Any] = {"epochs": 1, "learning_rate": 1e-3, "evaluate_every": 1000}
    whole = train(at_once, batch_size=32, train=EncodedMessages(TRAIN.inputs[:96], TRAIN.targets[:96]), **fields)
    parts = train(
        in_parts,
        batch_size=8,
        gradient_accumulation=4,
        train=EncodedMessages(TRAIN.inputs[:96], TRAIN.targets[:96]),
        **fields,
    )
    assert whole.history.step.tolist()[-1] == 2
    assert parts.history.step.tolist()[-1] == 11
    # Step 0 draws for an evaluation, so both shuffles are the same: 3 steps on the same 32 messages each.
    assert_close(weights(in_parts), weights(at_once))


def test_batches_left_at_the_end_of_an_epoch_make_a_step_too() -> None:
    rates = train(
        classifier(), epochs=1, gradient_accumulation=5, warmup_steps=100, evaluate_every=1
    ).history.learning_rate
    # 12 batches: steps after the 5th, the 10th and the 12th.
    assert rates.drop_duplicates().tolist() == pytest.approx([0, 5e-5, 1e-4, 1.5e-4])


def test_learning_rate_follows_the_schedule() -> None:
    history = train(classifier(), epochs=1, schedule="cosine", warmup_steps=4, evaluate_every=1).history
    rates = history.drop_duplicates("step").learning_rate
    assert rates.tolist()[:5] == pytest.approx([1.25e-3, 2.5e-3, 3.75e-3, 5e-3, 5e-3])
    assert rates.iloc[-1] == pytest.approx(5e-3 * 0.5 * (1 + np.cos(np.pi * 7 / 8)))


def test_a_tiny_gradient_clip_changes_the_weights() -> None:
    free, clipped = classifier(), classifier()
    train(free)
    train(clipped, gradient_clip=1e-9)  # AdamW's epsilon of 1e-8 then outweighs the gradients
    head, start = weights(clipped)["head.weight"], classifier().head.weight
    assert (head - start).norm() < 0.2 * (weights(free)["head.weight"] - start).norm()


def test_class_weights_shift_the_answers() -> None:
    shares = []
    for factors in (None, (10.0, 1.0)):
        model = classifier(pooling="mean")
        train(model, class_weights=factors, epochs=1)
        shares.append(class_probabilities(model, VALIDATION.inputs, padding="longest", max_length=20)[:, 0].mean())
    assert shares[1] > shares[0] + 0.1


def test_bfloat16_trains_float32_weights_and_leaves_no_trace() -> None:
    exact, rough = classifier(), classifier()
    one, two = train(exact), train(rough, precision="bfloat16")
    assert {tensor.dtype for tensor in weights(rough).values()} == {torch.float32}
    assert not same(weights(exact), weights(rough))
    np.testing.assert_allclose(two.history.train_loss, one.history.train_loss, atol=0.05)
    assert vars(rough).keys() == vars(classifier()).keys()
    tokens, lengths = torch.tensor([[1, 2, 3]]), torch.tensor([3])
    copied = copy.deepcopy(rough)
    copied.load_state_dict(exact.state_dict())
    assert torch.equal(copied(tokens, lengths), exact(tokens, lengths))  # plain float32 again, its own weights


def test_each_training_of_a_classifier_has_the_precision_it_asks_for() -> None:
    twice, exact = classifier(), classifier()
    for precision in ("float32", "bfloat16"):
        train(twice, precision=precision, epochs=1)
        train(exact, epochs=1)
    assert not same(weights(twice), weights(exact))


def test_frozen_classifiers_can_be_trained_again_with_another_part() -> None:
    model = classifier(trainable="head")
    train(model, epochs=1)
    before = weights(model)
    freeze(model, "all")
    train(model, epochs=1)
    name = "backbone.gpt.blocks.0.mlp.expansion.bias"
    assert not torch.equal(before[name], model.get_parameter(name))


def test_an_infinite_loss_names_its_step() -> None:
    model = classifier(trainable="all")
    with torch.no_grad():
        cast(PooledGPT, model.backbone).gpt.token_embedding.weight[TRAIN.inputs[0][0]] = float("nan")
    with pytest.raises(TrainingError, match=r"step \d+ is not a finite number: lower training\.learning_rate"):
        train(model, padding="batch")
    train(classifier(), epochs=1)  # and the next training in the same process is not disturbed


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        ({"train": EncodedMessages([], [])}, MessagesError, "no training messages"),
        ({"validation": EncodedMessages([], [])}, MessagesError, "no validation messages"),
        ({"train": EncodedMessages([[1], []] * 8, [0, 1] * 8)}, MessagesError, "Message 1 of the training"),
        ({"train": EncodedMessages([[1]] * 8, [0, 2] * 4)}, LabelError, "targets from 0 to 2"),
        ({"train": messages(7, 0)}, RecipeError, r"training\.batch_size is 8.*only 7"),
        ({"class_weights": (1.0,)}, LabelError, "1 class weights"),
        ({"max_length": 33}, RecipeError, r"encoding\.max_length is 33"),
        ({"padding": 19}, RecipeError, r"classifier\.padding is 19"),
    ],
)
def test_what_cannot_be_trained_is_refused(arguments: dict[str, Any], error: type[FinetuneError], reason: str) -> None:
    with pytest.raises(error, match=reason):
        train(classifier(), **arguments)


def test_sorted_batches_train_fewer_messages_than_a_batch() -> None:
    assert train(classifier(), train=messages(5, 0), padding="batch", epochs=2).history.examples_seen.iloc[-1] == 10
