"""Signals that ask this process to stop: SIGINT (Ctrl-C), SIGTERM, and SIGHUP (the end of its terminal).

A thread waits for them, so that one is heeded at any moment, whatever the main thread does and whoever sets handlers:
it makes the main thread raise Stopped. A second signal ends the process at once, and so does time when it is up. The
same one within a moment is no second: `timeout` and shells send it to a process, and then to the group that it is in.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

KINDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WAKE = signal.SIGUSR1  # between the thread that waits and the main thread
STOP_SECONDS = 9.0  # from the first signal to the end
AGAIN_SECONDS = 0.05
TWICE_SECONDS = 0.5  # in which the same signal is the same wish
HOLD_SECONDS = 6.0  # of these, the most that work may go on until it has come to a good place to stop at


class Stopped(KeyboardInterrupt):
    """A signal asked this process to stop."""

    def __init__(self, kind: signal.Signals) -> None:
        super().__init__(f"stopped by {kind.name}")
        self.kind = kind


@dataclass
class Heard:
    """The first signal that asked to stop."""

    kind: signal.Signals | None = None


@contextmanager
def stoppable(
    heard: Heard, end: Callable[[signal.Signals], None], *, seconds: float | None = STOP_SECONDS
) -> Iterator[None]:
    """Raises Stopped in the block when a signal asks this process to stop, and notes in `heard` which one.

    Signals that are ignored, as `nohup` ignores SIGHUP, stay ignored. Does nothing where this is not the main thread.

    Args:
        end: called before the process ends, where it does not wait for the block: at a second signal, and `seconds`
            after the first (None: never).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kinds = frozenset(kind for kind in KINDS if signal.getsignal(kind) != signal.SIG_IGN)
    watch = _Watch(kinds, heard, end, seconds)
    # Blocked here, and in every thread and process that is started from here, so that only one thread gets them.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, watch.kinds)
    handler = signal.signal(WAKE, watch.wake)
    hook, sys.unraisablehook = sys.unraisablehook, watch.unraisable
    thread = threading.Thread(target=watch.run, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.unraisablehook = hook
        atexit.register(_end_silently)  # now, because what is registered last is done first
        if heard.kind is None:
            signal.pthread_kill(_ident(thread), WAKE)
            thread.join()
            signal.signal(WAKE, handler)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        else:
            signal.signal(WAKE, signal.SIG_IGN)  # the thread goes on: what is left to do must end in time, too


@dataclass
class _Watch:
    """What the thread that waits for signals knows."""

    kinds: frozenset[signal.Signals]
    heard: Heard
    end: Callable[[signal.Signals], None]
    seconds: float | None

    def run(self) -> None:
        """Waits for the first signal and for the second."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {WAKE})
        kind = signal.Signals(signal.sigwait({*self.kinds, WAKE}))
        if kind == WAKE:
            return  # the block has ended
        self.heard.kind = kind
        if self.seconds is not None:
            timer = threading.Timer(self.seconds, self.leave, [kind])
            timer.daemon = True
            timer.start()
        signal.pthread_kill(_ident(threading.main_thread()), WAKE)
        self.leave(self._second(kind))

    def _second(self, first: signal.Signals) -> signal.Signals:
        """Waits for another wish than the first."""
        heard = time.monotonic()
        while True:
            kind = signal.Signals(signal.sigwait(self.kinds))
            if kind != first or time.monotonic() - heard > TWICE_SECONDS:
                return kind

    def leave(self, kind: signal.Signals) -> NoReturn:
        """Ends the process."""
        self.end(kind)
        os._exit(128 + kind)

    def wake(self, number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG002 - the signal module's signature
        """Runs in the main thread."""
        assert self.heard.kind is not None, "somebody else has sent SIGUSR1"
        raise Stopped(self.heard.kind)

    def unraisable(self, what: Any) -> None:
        """Raises Stopped again where it came up while Python destroyed something, and so nowhere."""
        if isinstance(what.exc_value, Stopped):  # a moment later: raised from here it would be lost again
            _start_timer(AGAIN_SECONDS, WAKE)
        else:
            sys.__unraisablehook__(what)


@dataclass
class Held:
    """A wish to stop that waits until the work has come to a good place."""

    wake: Callable[[int, FrameType | None], Any] | None = None  # raises Stopped; None: nobody waits for signals here
    heard: bool = False

    def stop(self) -> NoReturn:
        """Raises Stopped, of this process's signal or because another process that works with it has heard one."""
        self.obey()
        raise Stopped(signal.SIGTERM)

    def obey(self) -> None:
        """Raises Stopped if there was such a wish."""
        if self.heard and self.wake is not None:
            self.heard = False
            self.wake(WAKE, None)


@contextmanager
def signals_held(*, seconds: float = HOLD_SECONDS) -> Iterator[Held]:
    """Lets what `stoppable` raises wait in the block, until `Held.obey`, its end, or `seconds`.

    Leaves other handlers where they are: Prefect's runner cancels a run only if it finds its own in the run's process.
    Does nothing where this is not the main thread.
    """
    held = Held()

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal module's signature
        if held.heard:
            held.obey()
        held.heard = True
        timers.append(_start_timer(seconds, WAKE))

    timers: list[threading.Timer] = []
    try:
        with _handled(note, {WAKE}) as before:
            held.wake = before.get(WAKE)
            yield held
    finally:
        for timer in timers:
            timer.cancel()
        held.obey()


@contextmanager
def signals_heard(by: Callable[[], None]) -> Iterator[None]:
    """Calls `by` in the block when a signal asks this process to stop, in place of raising."""
    with _handled(lambda number, frame: by(), {*KINDS, WAKE}):
        yield


@contextmanager
def _handled(
    handler: Callable[[int, FrameType | None], None], kinds: Collection[signal.Signals]
) -> Iterator[dict[int, Callable[[int, FrameType | None], Any]]]:
    """Sets the handler wherever another one is set in Python for these kinds; yields those by signal."""
    found = {kind: signal.getsignal(kind) for kind in kinds}
    before = {int(kind): known for kind, known in found.items() if callable(known)}
    if threading.current_thread() is not threading.main_thread():
        before = {}
    for kind in before:
        signal.signal(kind, handler)
    try:
        yield before
    finally:
        for kind, known in before.items():
            signal.signal(kind, known)


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Lets Ctrl-C end the process in the block, without a word."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_silently() -> None:
    """From here on Ctrl-C ends the process: nobody is there to be told what it interrupts."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _start_timer(seconds: float, number: int) -> threading.Timer:
    """Starts one that sends the main thread a signal."""
    timer = threading.Timer(seconds, signal.pthread_kill, [_ident(threading.main_thread()), number])
    timer.daemon = True
    timer.start()
    return timer


def _ident(thread: threading.Thread) -> int:
    assert thread.ident is not None, "the thread has started"
    return thread.ident
