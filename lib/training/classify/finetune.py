"""Fine-tunes a classifier: checks its messages, orders the batches and says what a checkpoint must match."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lib.errors import MessagesError, RecipeError
from lib.model.adapters import adapter_settings, merge_adapters
from lib.model.classifier import Classifier
from lib.model.features.file import KeptFeatures
from lib.model.gpt2.pooled import PooledGPT
from lib.model.machine.fast import fast
from lib.model.machine.memory import Room
from lib.model.windowed import Windowed
from lib.progress import NOBODY, Listener
from lib.text.batching import Padding, padding_width
from lib.text.windows import Windows, lengths_of, rows_of
from lib.training.batches import EncodedMessages, Order, PublishedOrder, SortedOrder
from lib.training.classify.messages import Messages
from lib.training.classify.single_label import SINGLE_LABEL
from lib.training.examples import Examples
from lib.training.objective import Objective
from lib.training.published import ClassificationFigures
from lib.training.settings import Settings
from lib.training.team import ALONE, Team
from lib.training.train import Trained, mark_of, train

IN_WORDS = {"train": "training"}  # a split's name in errors
AT_ONCE = 16_384  # rows whose tokens are put together


class ClassObjective(Objective, Protocol):
    """An objective over the classes of messages."""

    def checked(self, targets: Sequence[Any] | NDArray[np.integer[Any]], classes: int, split: str) -> Tensor:
        """Returns a split's targets (messages, ...) on the CPU; raises LabelError if they do not fit the classes."""


def finetune(
    classifier: Classifier,
    splits: Mapping[str, EncodedMessages],
    *,
    settings: Settings,
    padding: Padding,
    max_length: int,
    objective: ClassObjective = SINGLE_LABEL,
    scratch: Path,
    fingerprint: str = "",
    listener: Listener = NOBODY,
    before_merging: Callable[[Classifier], None] = lambda _: None,
    team: Team = ALONE,
) -> Trained:
    """Trains the parameters of `classifier` that require gradients, in place.

    The classifier comes back on the CPU, in eval mode, with any adapters merged into its weights.

    With padding `longest` or a number, batches, random draws and evaluations are those of the published procedure
    (chapter 6 of "Build a Large Language Model (From Scratch)"); with `batch`, batches hold messages of similar length.
    A checkpoint (see `train`) is resumed if data, weights, settings and `fingerprint` (anything else to match, such as
    the code) are the same. The caller deletes `scratch` once the result is safe.

    A split's inputs may be `Features` of the classifier's frozen part: the same losses for less work. Features are not
    compared with a checkpoint's, so `fingerprint` should identify their file. They may be `Windows` of tokens or
    features too, in all splits alike: a message's windows are then in one batch, its loss is that of their pooled
    logits, and no more than `batch_size` of them are computed at once.

    Args:
        splits: `train` and `validation`; with `settings.published_figures` also `test`.
        objective: the loss and the measures.
        before_merging: gets the trained classifier while its adapters are beside its weights.
        team: the processes that train together, each of which calls this: see `train`.

    Raises:
        ValueError: the features are of another frozen part; published figures without a test split.
        RecipeError: padding, max_length or batch_size do not fit the model or the data; no such device.
        MessagesError: a split or a message is empty.
        LabelError: a target or the number of class weights does not match the classifier's labels.
        TrainingError: the loss is not a finite number.
        StoreError: the disk is full.
    """
    backbone = classifier.backbone
    width = padding_width(padding, max_length=max_length, context_length=backbone.context_length)
    checked: dict[str, Messages] = {}
    shape: dict[str, Any] = {
        "width": width,
        "pad": backbone.pad,
        "most": backbone.context_length,
        "recorded": backbone.network == PooledGPT.network,  # others' code may do what cannot be recorded
    }
    for name, split in splits.items():
        named = IN_WORDS.get(name, name)
        inputs = _checked_inputs(split, named, classifier, max_length)
        checked[name] = Messages(inputs, objective.checked(split.targets, len(classifier.labels), named), **shape)
    order = _order(checked["train"].inputs, checked["validation"].inputs, padding, settings)
    room = Room(warn=listener.remark)
    examples = {name: Examples(split, objective, room, team) for name, split in checked.items()}
    published = None
    if settings.published_figures:
        if "test" not in checked or not isinstance(order, PublishedOrder) or team.size > 1:
            raise ValueError(
                "the published figures need a test split, and another padding than 'batch', and one process"
            )
        test_count = len(checked["test"].inputs)
        published = ClassificationFigures(order, examples, test_count, seed=settings.seed, tell=listener.on_figures)
    depends_on = {
        "fingerprint": fingerprint,
        "settings": settings.procedure(),
        "objective": repr(objective),
        "padding": padding,
        "max_length": max_length,
        "classifier": _shape(classifier),
    }
    learning: nn.Module = classifier
    if isinstance(splits["train"].inputs, Windows):
        learning = Windowed(classifier, pooling=splits["train"].inputs.pooling, rows=settings.batch_size)
        depends_on["windows"] = splits["train"].inputs.pooling
    with fast(classifier, backbone.width):
        trained = train(
            learning,
            examples,
            order=order,
            settings=settings,
            scratch=scratch,
            mark=mark_of(depends_on, learning, _bytes(checked.values())),
            published=published,
            listener=listener,
        )
    before_merging(classifier)
    merge_adapters(classifier)
    return trained


def _checked_inputs(split: EncodedMessages, name: str, classifier: Classifier, max_length: int) -> Sequence[Any]:
    """Returns the split's messages or windows, cut to `max_length` tokens; refuses what cannot be trained on."""
    if not len(split.inputs):
        raise MessagesError(f"There are no {name} messages: give that split a larger fraction or get more messages")
    rows = rows_of(split.inputs)
    if isinstance(rows, KeptFeatures):
        rows.require_blocks(classifier.backbone.cut)
    elif isinstance(rows, list) or lengths_of(rows).max() > max_length:
        rows = [np.asarray(sequence[:max_length], dtype=np.int64) for sequence in rows]
    if len(split.inputs) != len(split.targets):
        raise ValueError(f"{len(split.inputs)} {name} messages have {len(split.targets)} targets")
    inputs = replace(split.inputs, rows=rows) if isinstance(split.inputs, Windows) else rows
    empty = np.flatnonzero(lengths_of(inputs) == 0)
    if len(empty):
        raise MessagesError(f"Message {empty[0]} of the {name} messages has no tokens: leave empty texts out")
    return inputs


def _order(train: Sequence[Any], validation: Sequence[Any], padding: Padding, settings: Settings) -> Order:
    """Sorts by length where each batch is padded on its own; otherwise keeps the published loaders' order."""
    size = settings.whole_batch
    if padding == "batch":
        return SortedOrder(lengths_of(train), lengths_of(validation), size, seed=settings.seed)
    if len(train) < size:
        raise RecipeError(
            f"training.batch_size is {settings.batch_size}{settings.of_each}, and there are only {len(train)} training"
            " messages: lower it (with classifier.padding other than batch, only whole batches are trained on)"
        )
    return PublishedOrder(len(train), len(validation), size)


def _shape(classifier: Classifier) -> str:
    """Describes what a checkpoint's classifier must match besides the weights."""
    backbone = classifier.backbone
    return repr((backbone.config, backbone.use(), classifier.labels, adapter_settings(classifier)))


def _bytes(splits: Iterable[Messages]) -> Iterator[bytes]:
    """Yields the data that a checkpoint must match; of features only their lengths."""
    for split in splits:
        rows = rows_of(split.inputs)
        yield lengths_of(rows).astype(np.int64).tobytes()
        if isinstance(split.inputs, Windows):
            yield np.asarray(split.inputs.counts, np.int64).tobytes()
        if not isinstance(rows, KeptFeatures):
            for first in range(0, len(rows), AT_ONCE):
                yield np.concatenate(rows[first : first + AT_ONCE]).astype(np.int32).tobytes()
        yield split.targets.numpy().tobytes()
