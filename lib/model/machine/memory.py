"""Computes in parts what a card's memory does not hold at once."""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

from lib.errors import RecipeError

LOGGER = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass
class Room:
    """How much a card's memory held at once, as it turned out, in rows or in whatever `within_memory` is told that a
    row is worth (None: all that came so far)."""

    most: int | None = None
    told: bool = False  # whether the log says that work is done in parts


def within_memory(work: Callable[[int], Result], rows: int, room: Room, *, each: int = 1) -> Result:
    """Returns `work(at_once)`: first for as many of `rows` rows at once as `room` has, then, as long as a card's memory
    is exhausted, for half as many.

    `work` begins anew each time and must undo what it left behind. `room` remembers what was too much, so that the next
    call begins with what fits; the log says it once. each: what a row is worth, for example its tokens, where rows
    differ from call to call. Raises `RecipeError` if not even one row fits.
    """
    at_once = rows if room.most is None else max(1, min(rows, room.most // each))
    while True:
        try:
            result = work(at_once)
        except torch.OutOfMemoryError:
            pass  # handled below, where the traceback no longer holds the tensors of `work`
        else:
            break
        if at_once == 1:
            raise _too_small("a single text")
        gc.collect()
        torch.cuda.empty_cache()
        at_once = -(-at_once // 2)
        room.most = at_once * each
    if at_once < rows and not room.told:
        LOGGER.warning(
            "The card's memory is too small for %d texts at once: %d are computed at a time, with the same result",
            rows,
            at_once,
        )
        room.told = True
    return result


@contextmanager
def memory_suffices() -> Iterator[None]:
    """Raises `RecipeError` where a card's memory is exhausted inside the block for other reasons than its texts."""
    short = False
    try:
        yield
    except torch.OutOfMemoryError:
        short = True
    if short:
        raise _too_small("the model's weights and what is learnt of them")


def _too_small(what: str) -> RecipeError:
    return RecipeError(
        f"The card's free memory is too small for {what}: end other programs that use the card, choose a smaller model,"
        " fewer trainable parameters, precision bfloat16 or a lower encoding.max_length, or set training.device to cpu"
    )


def parts(rows: int, at_once: int) -> list[slice]:
    """Returns where to cut `rows` rows into parts of `at_once`, the last perhaps smaller."""
    return [slice(start, start + at_once) for start in range(0, rows, at_once)]
