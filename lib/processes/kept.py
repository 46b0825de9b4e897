"""Starts commands that end with this process, however it ends, and that hold none of its pipes."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lib.processes import keeper

if TYPE_CHECKING:
    import psutil

STOP_SECONDS = keeper.ASK_SECONDS + 5.0  # from asking to killing, also where the keeper does not do its work
KILL_SECONDS = 5.0  # from killing the keeper to going on without it
SIGN = "FINETUNE_KEPT"  # the variable by which all that a command has started is found, also in sessions of its own


@dataclass(eq=False)
class Kept:
    """A command under a keeper (see `lib.processes.keeper`), which may be started again when it has ended."""

    command: Sequence[str]
    manner: Literal["server", "family"]  # how it is ended
    environment: Mapping[str, str]  # all of it
    log: Path  # gets what it prints; emptied before the first start
    survivors: Sequence[Kept] = ()  # which are to end after this one
    process: subprocess.Popen[bytes] = field(init=False)  # the keeper

    def __post_init__(self) -> None:
        self._sign = uuid.uuid4().hex
        self._watched, self._held = os.pipe()  # the keeper ends when nobody holds the second end, which nobody uses
        self.log.write_bytes(b"")
        self.start()

    def start(self) -> None:
        """Starts it; an earlier one has ended."""
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-P", keeper.__file__, self.manner, *self.command],
                env={**self.environment, SIGN: self._sign},
                stdin=self._watched,
                stdout=stream,
                stderr=stream,
                pass_fds=[survivor._held for survivor in self.survivors],
                start_new_session=True,  # Ctrl-C, and other signals to a group, are for this process
            )

    def stop(self) -> None:
        """Ends it and all that it has started, for good; kills what has not ended within `STOP_SECONDS`. Returns once
        nothing of them is left, but for what even the kernel cannot end now."""
        os.close(self._held)
        status = None
        with suppress(subprocess.TimeoutExpired):
            status = self.process.wait(STOP_SECONDS)
        if status is None:
            self.process.kill()
            keeper.end(self._rest())
            with suppress(subprocess.TimeoutExpired):  # whoever waits for a broken disk is not even killed
                self.process.wait(KILL_SECONDS)
        elif status < 0:  # it was killed, and could end nobody
            self.end_rest()
        os.close(self._watched)

    def end_rest(self) -> None:
        """Ends what is left of one that has ended: its keeper may have been killed, too."""
        if self.manner == keeper.FAMILY:
            keeper.end(self._rest(), keeper.FAMILY_SIGNAL)
        keeper.end(self._rest())

    def _rest(self) -> list[psutil.Process]:
        """Returns all that it has started, the keeper included, and that has not ended."""
        import psutil

        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # it has ended, or is somebody else's
                if process.environ().get(SIGN) == self._sign:
                    found.append(process)
        return found
