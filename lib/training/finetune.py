"""Fine-tuning: a classifier and two splits in, a trained classifier and its history out.

Here belong the checks before the first batch, what a checkpoint must match, and putting the kept weights in
place. The batches themselves are `loop.py`'s.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from lib.errors import LabelError, MessagesError, RecipeError
from lib.model.adapters import adapter_settings, merge_adapters
from lib.model.classifier import Classifier
from lib.model.device import device_name
from lib.model.features import Features
from lib.model.threads import sensible_threads
from lib.progress import Progress, silent
from lib.text.batching import Padding, padding_width
from lib.training.batches import EncodedMessages, Order, PublishedOrder, SortedOrder
from lib.training.checkpoint import read_checkpoint, write_checkpoint
from lib.training.history import Row, history_table
from lib.training.loop import Loop, best_row
from lib.training.published import PublishedFigures

if TYPE_CHECKING:
    from lib.recipe import Training


@dataclass(frozen=True)
class Finetuned:
    """What came of a training."""

    history: pd.DataFrame  # one row for each evaluation; the columns of `lib.training.history.SCHEMA`
    kept: int  # position of the row whose weights the classifier has
    resumed_at: int | None  # batches that an earlier attempt had done already (None: began at the beginning)
    published: dict[str, dict[str, float]]  # `before` and `after`, if asked for: see `lib.training.published`


def finetune(
    classifier: Classifier,
    train: EncodedMessages,
    validation: EncodedMessages,
    *,
    test: EncodedMessages | None = None,
    training: "Training",
    padding: Padding,
    max_length: int,
    class_weights: Sequence[float] | None = None,
    scratch: Path,
    fingerprint: str = "",
    on_row: Callable[[Row], None] = lambda _: None,
    on_figures: Callable[[str, dict[str, float]], None] = lambda part, figures: None,
    progress: Progress = silent,
    warn: Callable[[str], None] = lambda _: None,
) -> Finetuned:
    """Train the parameters of `classifier` that require gradients, in place.

    The classifier comes back on the CPU, in eval mode, and its adapters, where it has any, merged into its weights.

    With padding `longest` or a number, batches, random draws and evaluations are those of the published
    procedure (chapter 6 of "Build a Large Language Model (From Scratch)"); with `batch`, batches hold
    messages of similar length. An evaluation follows the first batch, then every
    `training.evaluate_every`-th, and each epoch.

    The same arguments give bit-identical weights on the same machine with the same number of threads, also
    when the training is killed and called again with the same `scratch`: checkpoints in that folder are
    continued if data, weights, settings and `fingerprint` (whatever else the caller wants to match, such as
    the code) are the same. Rows from before the kill are given to `on_row` again. The caller deletes
    `scratch` once the result is safe.

    A split's inputs may be `Features` of the classifier's frozen part: the same losses, for less work. Their numbers
    are not compared with a checkpoint's, so `fingerprint` should name the file.

    With `training.published_figures`, what the published procedure prints before and after is measured too, for which
    `test` is needed, and `on_figures` hears of each part (`before`, `after`) at once.

    `class_weights` has one factor for each class (None: equal). Torch's global generators are seeded.

    Raises:
        ValueError: features are not those of the part that is frozen; figures of a test split that is not there.
        RecipeError: padding, max_length or batch_size do not fit the model or the data; no such device.
        MessagesError: a split or a message is empty.
        LabelError: a target or the number of class weights does not match the classifier's labels.
        TrainingError: the loss is not a finite number.
        StoreError: the disk is full.
    """
    context_length = classifier.backbone.config.context_length
    width = padding_width(padding, max_length=max_length, context_length=context_length)
    train = _checked(train, "training", classifier, max_length)
    validation = _checked(validation, "validation", classifier, max_length)
    if class_weights is not None and len(class_weights) != len(classifier.labels):
        raise LabelError(f"{len(class_weights)} class weights were given for {len(classifier.labels)} labels")
    order = _order(train, validation, padding, training)
    splits = {"train": train, "validation": validation}
    if test is not None:
        splits["test"] = _checked(test, "test", classifier, max_length)
    weights = None if class_weights is None else [float(weight) for weight in class_weights]
    settings = {
        "fingerprint": fingerprint,
        "training": training.model_dump(exclude={"checkpoint_every"}),
        "padding": padding,
        "max_length": max_length,
        "class_weights": weights,
    }
    mark = _mark(settings, classifier, splits.values())
    threads = sensible_threads(classifier.backbone.config)
    with threads, _accelerated(classifier, training) as (accelerator, model, optimizer):
        for split in splits.values():
            if isinstance(split.inputs, Features):
                split.inputs.move_to(accelerator.device)
        loop = Loop(
            accelerator=accelerator,
            model=model,
            optimizer=optimizer,
            training=training,
            order=order,
            train=train,
            validation=validation,
            width=width,
            class_weights=None if weights is None else torch.tensor(weights, device=accelerator.device),
            on_row=on_row,
            progress=progress,
            save=lambda checkpoint, number: write_checkpoint(scratch, checkpoint, number=number, fingerprint=mark),
        )
        published = None
        if training.published_figures:
            published = PublishedFigures(loop.measure, order, splits, on_figures)
            published.measure_before(seed=training.seed)
        torch.manual_seed(training.seed)
        checkpoint = read_checkpoint(scratch, fingerprint=mark, warn=warn)
        if checkpoint is not None:
            loop.restore(checkpoint)
        loop.run()
        rows = loop.state.rows
        kept = len(rows) - 1
        if training.keep == "best":
            kept = best_row(rows)
            classifier.load_state_dict(loop.state.best, strict=False)  # the frozen rest has not changed
        if published is not None:
            published.measure_after()
    merge_adapters(classifier.backbone)
    resumed_at = None if checkpoint is None else int(checkpoint.state["steps"])
    return Finetuned(history_table(rows), kept, resumed_at, published.figures if published else {})


def _checked(split: EncodedMessages, name: str, classifier: Classifier, max_length: int) -> EncodedMessages:
    """The split as arrays and numbers, cut to `max_length` tokens; refuses what cannot be trained on."""
    if not len(split.inputs):
        raise MessagesError(f"There are no {name} messages: give that split a larger fraction or get more messages")
    inputs = split.inputs
    if not isinstance(inputs, Features):
        cut = [np.asarray(sequence[:max_length], dtype=np.int64) for sequence in inputs]
        inputs = cast(list[Sequence[int] | Tensor], cut)
    else:
        inputs.require_blocks(classifier.cut)
    targets = [int(target) for target in split.targets]
    if len(inputs) != len(targets):
        raise ValueError(f"{len(inputs)} {name} messages have {len(targets)} targets")
    for number, sequence in enumerate(inputs):
        if not len(sequence):
            raise MessagesError(f"Message {number} of the {name} messages has no tokens: leave empty texts out")
    if min(targets) < 0 or max(targets) >= len(classifier.labels):
        raise LabelError(
            f"The {name} messages have targets from {min(targets)} to {max(targets)}, and the classifier has"
            f" {len(classifier.labels)} labels, numbered from 0"
        )
    return EncodedMessages(inputs, targets)


def _order(train: EncodedMessages, validation: EncodedMessages, padding: Padding, training: "Training") -> Order:
    """Batches of similar lengths where batches are padded one by one; otherwise the published loaders'."""
    size = training.batch_size
    if padding == "batch":
        train_lengths = [len(sequence) for sequence in train.inputs]
        validation_lengths = [len(sequence) for sequence in validation.inputs]
        return SortedOrder(train_lengths, validation_lengths, size, seed=training.seed)
    if len(train.inputs) < size:
        raise RecipeError(
            f"training.batch_size is {size}, and there are only {len(train.inputs)} training messages: lower"
            " it (with classifier.padding other than batch, only whole batches are trained on)"
        )
    return PublishedOrder(len(train.inputs), len(validation.inputs), size)


@contextmanager
def _accelerated(
    classifier: Classifier, training: "Training"
) -> Iterator[tuple[Accelerator, nn.Module, torch.optim.Optimizer]]:
    """Accelerate's device, precision and wrapping for `classifier`, and an AdamW; undone afterwards."""
    precision = "bf16" if training.precision == "bfloat16" else "no"
    accelerator = Accelerator(cpu=device_name(training.device) == "cpu", mixed_precision=precision)
    learning = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True)
    own = set(vars(classifier))
    try:
        yield accelerator, *accelerator.prepare(classifier, optimizer)
    finally:
        for name in vars(classifier).keys() - own:  # its `forward`, and a mark that would make it skip the next time
            delattr(classifier, name)
        classifier.zero_grad()
        classifier.cpu().eval()
        # Accelerate keeps one state for a process; the next training may want another device or precision.
        AcceleratorState._reset_state(reset_partial_state=True)


def _mark(
    settings: Mapping[str, object],
    classifier: Classifier,
    splits: Iterable[EncodedMessages],
) -> str:
    """SHA-256 over everything that the result depends on, except machine, code and the numbers in features."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    learning = [name for name, parameter in classifier.named_parameters() if parameter.requires_grad]
    adapted = adapter_settings(classifier.backbone)
    shape = repr((classifier.backbone.config, classifier.labels, classifier.pooling, adapted, learning))
    digest.update(shape.encode())
    for split in splits:
        digest.update(json.dumps([len(sequence) for sequence in split.inputs]).encode())
        if not isinstance(split.inputs, Features):
            digest.update(np.concatenate([np.asarray(sequence) for sequence in split.inputs]).tobytes())
        digest.update(json.dumps(list(split.targets)).encode())
    for name, weight in classifier.state_dict().items():
        digest.update(name.encode())
        digest.update(memoryview(weight.detach().cpu().contiguous().numpy()))
    return digest.hexdigest()
