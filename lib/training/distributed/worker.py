"""Is one of the processes that train together on one machine: `python -m lib.training.distributed.worker SOCKET RANK`.

`lib.training.distributed.launch` starts it, and says at the socket what is to be done.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from typing import NoReturn

from lib.processes.asked import heed_only
from lib.processes.stopping import Stopped
from lib.training.distributed.job import Job
from lib.training.distributed.messages import Channel, Relay, error_message, told_to
from lib.training.distributed.place import Place


def main(address: str, rank: str) -> NoReturn:
    """Does what the launcher asks for, and ends."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    channel = Channel(connection)
    channel.send({"rank": int(rank)})
    received = channel.received()
    order = next(received)
    heed_only(received)
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


if __name__ == "__main__":
    main(*sys.argv[1:])
