"""What a training's processes say while they train, as JSON: from a worker to the step's process, and back.

A message is an object with one field, what it is about: what a `Listener` hears (row, figures, sample, progress, warn,
remark), `log` (level and text), `error` (the class of an error that a user can correct, and its sentence), `failed` (a
traceback), `stopped` and `done`.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lib import errors
from lib.errors import FinetuneError
from lib.progress import Listener

Message = dict[str, Any]
Send = Callable[[Message], None]


class Channel:
    """One end of a connection that carries messages, one a line."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reading = connection.makefile("rb")
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """Sends a message, from any thread. Raises OSError where nobody listens."""
        line = json.dumps(message).encode() + b"\n"
        with self._lock:
            self._connection.sendall(line)

    def received(self) -> Iterator[Message]:
        """Yields what the other end sends, until it is closed."""
        try:
            for line in self._reading:
                if line.endswith(b"\n"):  # the last line of one that was killed may be cut
                    yield json.loads(line)
        except OSError:
            return

    def close(self) -> None:
        """Ends the connection."""
        self._reading.close()
        self._connection.close()


def told_to(send: Send, *, first: bool) -> Listener:
    """Returns a listener that sends on what it hears; of processes but the first only what was unusual there."""
    if not first:
        return Listener(warn=lambda sentence: send({"warn": sentence}), remark=lambda it: send({"remark": it}))
    return Listener(
        on_row=lambda row: send({"row": dict(row)}),
        on_figures=lambda part, figures: send({"figures": [part, dict(figures)]}),
        on_sample=lambda epoch, text: send({"sample": [epoch, text]}),
        progress=lambda done, total, unit: send({"progress": [done, total, unit]}),
        warn=lambda sentence: send({"warn": sentence}),
        remark=lambda sentence: send({"remark": sentence}),
    )


def error_message(error: BaseException) -> Message:
    """Returns what is sent of an error."""
    if isinstance(error, FinetuneError):
        return {"error": [type(error).__name__, str(error)]}
    return {"failed": "".join(traceback.format_exception(error))}


def known_error(message: Message) -> FinetuneError:
    """Returns the error that a message tells of."""
    name, sentence = message["error"]
    error: FinetuneError = getattr(errors, name, FinetuneError)(sentence)
    return error


class Relay(logging.Handler):
    """Sends on what is logged."""

    def __init__(self, send: Send) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Sends the level and the text."""
        self._send({"log": [record.levelno, record.getMessage()]})


@dataclass
class Told:
    """Passes on to a listener what the processes of a training send; what they repeat, because they were started again
    and went on from a checkpoint, only once."""

    listener: Listener
    log: Callable[[int, str], None]
    rows: int = 0  # passed on so far
    samples: int = 0
    sentences: set[str] = field(default_factory=set)
    _rows: int = 0  # heard since the latest start
    _samples: int = 0

    def started(self) -> None:
        """From here on the processes tell all of it anew."""
        self._rows = self._samples = 0

    def __call__(self, message: Message) -> None:
        """Passes on one message that is for a listener."""
        ((about, what),) = message.items()
        if about == "row":
            self._rows += 1
            if self._rows > self.rows:
                self.rows = self._rows
                self.listener.on_row(what)
        elif about == "sample":
            self._samples += 1
            if self._samples > self.samples:
                self.samples = self._samples
                self.listener.on_sample(*what)
        elif about == "progress":
            self.listener.progress(*what)
        elif about == "figures":
            self.listener.on_figures(*what)
        elif about == "log":
            self.log(*what)
        elif what not in self.sentences:  # each process may find the same
            self.sentences.add(what)
            (self.listener.warn if about == "warn" else self.listener.remark)(what)


FOR_LISTENERS = ("row", "figures", "sample", "progress", "warn", "remark", "log")


def is_for_listeners(message: Mapping[str, Any]) -> bool:
    """Whether `Told` passes it on."""
    return next(iter(message)) in FOR_LISTENERS
