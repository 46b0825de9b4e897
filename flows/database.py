"""Runs a command with the databases that `DATABASE` names in its environment: `python -m flows.database COMMAND ...`.

There they show in no list of processes: both servers, `psql`, `pg_dump` and `pg_restore` read them. Missing databases
are created. Without DATABASE the command runs as it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from flows.terminal.exits import exit_status_of
from lib.errors import ServiceError


def main(command: Sequence[str]) -> int:
    """Becomes the command; the exit status if that cannot be."""
    return exit_status_of(lambda: _become(command))


def _become(command: Sequence[str]) -> int:
    if not command:
        raise ServiceError("no command is given: write python -m flows.database COMMAND ...")
    if address := os.environ.get("DATABASE"):
        from flows.servers.database import create_missing, databases

        wanted = databases(address)
        create_missing(wanted)
        os.environ.update(wanted.environment())
    try:
        os.execvp(command[0], list(command))
    except OSError as error:
        raise ServiceError(f"{command[0]} cannot be run ({error.strerror}): install it") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
