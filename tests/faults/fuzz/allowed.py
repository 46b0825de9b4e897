"""Says what may come of bytes that nobody vouches for: a value, or one sentence; and tells everything else apart."""

from __future__ import annotations

import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lib.errors import FinetuneError
from lib.visible import visible

PROJECT = Path(__file__).resolve().parents[3]
LONGEST_SENTENCE = 2000  # characters
MOST_SECONDS = 20.0  # of the processor, for an input of some kilobytes
MOST_BYTES = 512 * 2**20  # by which an input of some kilobytes may let the process grow


class Finding(Exception):  # noqa: N818 - what a fuzzer finds
    """What must not come of any input; `signature` is the same for the same cause."""

    def __init__(self, signature: str, said: str) -> None:
        super().__init__(f"{signature}: {said}")
        self.signature = signature


class _TooSlow(BaseException):
    """Raised by the clock: no `except Exception` may swallow it."""


def attempt(work: Callable[[bytes], object], data: bytes) -> None:
    """Gives `data` to `work`; raises Finding for another error than one of `lib.errors`, for a sentence that is none,
    and for more seconds or memory than so few bytes are worth."""
    largest, began = _largest(), time.process_time()
    try:
        with _limited_time():
            work(data)
    except FinetuneError as error:
        require_sentence(str(error), error)
    except _TooSlow as error:
        raise Finding(f"slow in {_deepest(error)}", f"more than {MOST_SECONDS:g} s") from error
    except Finding:
        raise
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of a library in Rust is no Exception
        raise Finding(f"{type(error).__name__} in {_deepest(error)}", str(error)[:200]) from error
    seconds, grown = time.process_time() - began, _largest() - largest
    if seconds > MOST_SECONDS:
        raise Finding("slow", f"{seconds:.1f} s of {MOST_SECONDS:g}")
    if grown > MOST_BYTES:
        raise Finding("memory", f"{grown / 2**20:,.0f} MiB of {MOST_BYTES / 2**20:,.0f}")


def require_sentence(text: str, error: BaseException | None = None) -> None:
    """Raises Finding unless `text` is one line of bounded length that a terminal shows as it stands there."""
    where = "" if error is None else f" from {_deepest(error)}"
    if not text.strip():
        raise Finding(f"no sentence{where}", repr(text))
    if len(text) > LONGEST_SENTENCE:
        raise Finding(f"sentence too long{where}", f"{len(text):,} characters: {text[:200]!r}")
    if visible(text) != text:
        raise Finding(f"control character in a sentence{where}", repr(text[:400]))


def _largest() -> int:
    """Returns the most memory that the process has had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _deepest(error: BaseException) -> str:
    """Names the last line of our own code that an error passed."""
    ours = [
        f"{Path(frame.filename).relative_to(PROJECT)}:{frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(PROJECT / "lib")
        or Path(frame.filename).is_relative_to(PROJECT / "flows")
    ]
    return ours[-1] if ours else "the target"


@contextmanager
def _limited_time() -> Iterator[None]:
    """Raises _TooSlow after MOST_SECONDS of the processor, where Python code runs."""

    def too_slow(number: int, frame: FrameType | None) -> None:
        raise _TooSlow

    before: Any = signal.signal(signal.SIGPROF, too_slow)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
