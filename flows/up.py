"""Run both servers, a worker and the deployments, until Ctrl-C.

Works over local files, or over the PostgreSQL server that DATABASE names, on this machine only.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from flows.terminal.exits import announce, exit_status_of
from flows.terminal.program import Parser, add_ports
from tasks.environment import home


def parser() -> Parser:
    """The flags."""
    return add_ports(Parser(prog="finetune up", description=__doc__, allow_abbrev=False))


def main(argv: Sequence[str]) -> int:
    """Starts everything, says so, and waits for a signal; the exit status. A second one says where the first one is."""
    return exit_status_of(lambda: _up(argv), seconds=None)  # which the runs and servers take, too


def _up(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    announce(f"finetune up: starts the servers and a worker; everything lies in {home()}")
    from flows.servers.everything import run_everything

    run_everything({"prefect": options.prefect_port, "mlflow": options.mlflow_port})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
