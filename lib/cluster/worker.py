"""A process of a pool: computes what it is asked, part by part, and ends with the process that started it."""

from __future__ import annotations

import os
import threading
from multiprocessing.connection import Connection

from lib.cluster.answers import Answer, answered


def main(descriptor: int) -> None:
    """Answers what comes through the pipe until it closes."""
    threading.Thread(target=_end_when_left_alone, daemon=True).start()
    connection = Connection(descriptor)
    while True:
        try:
            function, item = connection.recv()
        except EOFError:
            return
        except (ImportError, AttributeError) as error:  # of code that was edited meanwhile
            answer = Answer(words=f"{type(error).__name__}: {error}")
        else:
            answer = answered(function, item)
        connection.send(answer)


def _end_when_left_alone() -> None:
    """Waits until nobody holds the other end of standard input, which the kernel closes however the holder ended."""
    while os.read(0, 1):
        pass
    os._exit(1)
