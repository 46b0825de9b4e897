"""Computes in parts what memory does not hold at once, a card's or this machine's.

Imports torch only where memory was exhausted, so that what needs none of it stays without it.
"""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from lib.errors import RecipeError
from lib.progress import logged

# What torch's and others' C++ says of exhausted memory, in errors that have no class of their own.
PHRASES = (
    *("can't allocate memory", "not enough memory", "std::bad_alloc", "Cannot allocate memory"),
    "Failed to allocate memory",  # ONNX Runtime
)
ASKED_FOR = re.compile(r"tried to allocate (\d+) bytes")  # torch on a CPU

Result = TypeVar("Result")


@dataclass
class Room:
    """How much memory held at once, as it turned out, in rows or in whatever `within_memory` is told that a row is
    worth (None: all that came so far).

    warn: gets one sentence once work is done in parts.
    """

    most: int | None = None
    warn: Callable[[str], None] = logged
    told: bool = False


def within_memory(work: Callable[[int], Result], rows: int, room: Room, *, each: int = 1) -> Result:
    """Returns `work(at_once)`: first for as many of `rows` rows at once as `room` has, then, as long as memory is
    exhausted, for half as many.

    `work` begins anew each time and must undo what it left behind. `room` remembers what was too much, so that the next
    call begins with what fits; it warns once. each: what a row is worth, for example its tokens, where rows differ from
    call to call. Raises `RecipeError` if not even one row fits.
    """
    at_once = rows if room.most is None else max(1, min(rows, room.most // each))
    where = "The"
    while True:
        try:
            result = work(at_once)
        except (MemoryError, RuntimeError) as error:
            if not exhausted(error):
                raise
            where, short = _whose(error), too_small("a single text", error)
        else:
            break
        # Here, where the error's traceback no longer holds the tensors of `work`.
        if at_once == 1:
            raise short
        _release()
        at_once = -(-at_once // 2)
        room.most = at_once * each
    if at_once < rows and not room.told:
        room.warn(
            f"{where} memory is too small for {rows} texts at once: {at_once} are computed at a time, with the"
            " same result but for rounding"
        )
        room.told = True
    return result


@contextmanager
def memory_suffices(what: str = "the model's weights and what is learnt of them") -> Iterator[None]:
    """Raises `RecipeError` where memory is exhausted inside the block for `what`."""
    short: RecipeError | None = None
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not exhausted(error):
            raise
        short = too_small(what, error)
    if short is not None:
        raise short


def exhausted(error: BaseException) -> bool:
    """Whether an error says that there is no more memory: a card's, or this process's."""
    return isinstance(error, MemoryError) or _of_card(error) or any(phrase in str(error) for phrase in PHRASES)


def too_small(what: str, error: BaseException) -> RecipeError:
    """Says that memory was exhausted for `what`, and what to do."""
    card = _of_card(error)
    found = ASKED_FOR.search(str(error))
    lacking = f" ({int(found[1]) / 2**20:,.1f} MiB more were asked for)" if found else ""
    return RecipeError(
        f"{_whose(error)} free memory is too small for {what}{lacking}: end other programs that"
        f" {'use the card' if card else 'run here'}, choose a smaller model, fewer trainable parameters, precision"
        f" bfloat16 or a lower encoding.max_length, or {'set training.device to cpu' if card else 'add memory'}"
    )


def _of_card(error: BaseException) -> bool:
    return type(error).__name__ == "OutOfMemoryError"  # torch's; without torch there is none


def _whose(error: BaseException) -> str:
    return "The card's" if _of_card(error) else "This machine's"


def _release() -> None:
    """Gives back what is held without being used."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def parts(rows: int, at_once: int) -> list[slice]:
    """Returns where to cut `rows` rows into parts of `at_once`, the last perhaps smaller."""
    return [slice(start, start + at_once) for start in range(0, rows, at_once)]
