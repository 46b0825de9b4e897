"""A process that another one has started for some work, and that heeds nobody else.

Signals to whole groups, such as Ctrl-C, are for the one that started it; that one asks to stop, and when it has ended,
however it did, this process ends as well.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Any, NoReturn

from lib.processes.stopping import KINDS, WAKE, Stopped


def heed_only(received: Iterable[Mapping[str, Any]]) -> None:
    """From here on the main thread raises Stopped when a message with `stop` comes, and the process ends when no more
    can come. received: what the one that started this process says, which a thread reads."""
    for kind in KINDS:
        signal.signal(kind, signal.SIG_IGN)
    signal.signal(WAKE, _wake)
    threading.Thread(target=_read, args=(received,), daemon=True).start()


def _read(received: Iterable[Mapping[str, Any]]) -> None:
    for message in received:
        if "stop" in message:
            signal.pthread_kill(threading.main_thread().ident or 0, WAKE)
    os._exit(1)


def _wake(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - the signal module's signature
    raise Stopped(signal.SIGTERM)
