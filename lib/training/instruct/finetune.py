"""Fine-tunes a language model on instructions: orders the batches and says what a checkpoint must match."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from lib.errors import RecipeError
from lib.model.adapters import adapter_settings, merge_adapters
from lib.model.language_model import LanguageModel
from lib.model.machine.fast import fast
from lib.model.machine.memory import Room
from lib.progress import NOBODY, Listener
from lib.training.batches import Order, PublishedOrder, SortedOrder
from lib.training.examples import Examples
from lib.training.instruct.batches import EncodedEntries
from lib.training.instruct.next_token import NextToken, Predicting
from lib.training.published import InstructionFigures
from lib.training.settings import Settings
from lib.training.team import ALONE, Team
from lib.training.train import Trained, mark_of, train


def finetune_instructions(
    model: LanguageModel,
    splits: Mapping[str, EncodedEntries],
    *,
    settings: Settings,
    published_order: bool = False,
    gradient_checkpointing: bool = False,
    scratch: Path,
    fingerprint: str = "",
    sample: Callable[[], str] | None = None,
    listener: Listener = NOBODY,
    team: Team = ALONE,
) -> Trained:
    """Trains the parameters of `model` that require gradients, in place.

    It comes back on the CPU, in eval mode, with any adapters merged into its weights.

    With `published_order`, batches, random draws and evaluations are those of the published procedure (chapter 7 of
    "Build a Large Language Model (From Scratch)"), which evaluates only within epochs. `train` describes how a training
    resumes; `fingerprint` is what else a checkpoint must match.

    Args:
        splits: `train` and `validation`.
        gradient_checkpointing: keeps only each block's input and recomputes the rest for the gradients.
        sample: lets the model write something after each epoch; must not draw from torch's global generator.
        team: the processes that train together, each of which calls this: see `train`.

    Raises:
        RecipeError: batch_size does not fit the data; no such device.
        TrainingError: the loss is not a finite number.
        StoreError: the disk is full.
    """
    order = _order(splits["train"], splits["validation"], settings, published_order)
    room = Room(warn=listener.remark)
    examples = {name: Examples(split, NextToken(), room, team) for name, split in splits.items()}
    published = None
    if settings.published_figures:
        if not isinstance(order, PublishedOrder) or team.size > 1:
            raise ValueError("the published figures need the published order, and one process")
        published = InstructionFigures(order, examples, seed=settings.seed, tell=listener.on_figures)
    model.gradient_checkpointing = gradient_checkpointing
    predicting = Predicting(model)
    depends_on = {
        "fingerprint": fingerprint,
        "settings": settings.procedure(),
        "published_order": published_order,
        "gradient_checkpointing": gradient_checkpointing,
        "model": repr((model.config, adapter_settings(predicting))),
    }
    with fast(predicting, model.width):
        trained = train(
            predicting,
            examples,
            order=order,
            settings=settings,
            scratch=scratch,
            mark=mark_of(depends_on, predicting, _bytes(splits.values())),
            evaluate_epochs=not published_order,
            sample=sample,
            published=published,
            listener=listener,
        )
    merge_adapters(predicting)
    return trained


def _order(train: EncodedEntries, validation: EncodedEntries, settings: Settings, published: bool) -> Order:
    size = settings.whole_batch
    if not published:
        return SortedOrder(train.lengths(), validation.lengths(), size, seed=settings.seed)
    if len(train.tokens) < size:
        raise RecipeError(
            f"training.batch_size is {settings.batch_size}{settings.of_each}, and there are only {len(train.tokens)}"
            " training entries: lower it (with training.order published, only whole batches are trained on)"
        )
    return PublishedOrder(len(train.tokens), len(validation.tokens), size)


def _bytes(splits: Iterable[EncodedEntries]) -> Iterator[bytes]:
    """Yields the data that a checkpoint must match."""
    for split in splits:
        how = [split.max_length, split.mask_instruction, split.end, split.pad]
        shape = [*how, list(split.starts), list(split.earlier), [len(tokens) for tokens in split.tokens]]
        yield json.dumps(shape).encode()
        yield np.concatenate([np.asarray(tokens, dtype=np.int32) for tokens in split.tokens]).tobytes()
