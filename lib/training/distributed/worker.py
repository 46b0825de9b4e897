"""Is one of the processes that train together on one machine: `python -m lib.training.distributed.worker SOCKET RANK`.

`lib.training.distributed.launch` starts it, and says at the socket what is to be done.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from lib.processes.stopping import KINDS, WAKE, Stopped
from lib.training.distributed.job import Job
from lib.training.distributed.messages import Channel, Message, Relay, error_message, told_to
from lib.training.distributed.place import Place


def main(address: str, rank: str) -> NoReturn:
    """Does what the launcher asks for, and ends."""
    for kind in KINDS:  # which go to whole groups: the launcher asks, once the step has been
        signal.signal(kind, signal.SIG_IGN)
    signal.signal(WAKE, _wake)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    channel = Channel(connection)
    channel.send({"rank": int(rank)})
    received = channel.received()
    order = next(received)
    threading.Thread(target=_heed, args=(received,), daemon=True).start()
    status, last = 0, {"done": True}
    try:
        _work(Job(**order["job"]), Place(**order["place"]), order["meeting"], channel)
    except Stopped:
        last = {"stopped": True}
    except BaseException as error:
        status, last = 1, error_message(error)
    channel.send(last)
    logging.shutdown()
    os._exit(status)  # threads may wait: torch's for processes that do not answer, and one here for the launcher


def _work(job: Job, place: Place, meeting: str, channel: Channel) -> None:
    from torch.distributed import FileStore

    from lib.training.distributed.group import joined

    logging.getLogger("finetune").addHandler(Relay(channel.send))
    logging.getLogger("finetune").setLevel(logging.INFO)
    with joined(place, store=FileStore(meeting, place.size)) as team:
        job.do(team, told_to(channel.send, first=place.rank == 0))


def _heed(received: Iterator[Message]) -> None:
    """Wakes the main thread when the launcher asks to stop; ends the process when the launcher has ended."""
    for message in received:
        if "stop" in message:
            signal.pthread_kill(threading.main_thread().ident or 0, WAKE)
    os._exit(1)


def _wake(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - the signal module's signature
    raise Stopped(signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:])
