"""Show Prefect's and MLflow's pages over the local files, until Ctrl-C; on this machine only."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from flows.terminal.exits import announce, exit_status_of
from flows.terminal.program import Parser, add_ports
from tasks.environment import home


def parser() -> Parser:
    """The flags."""
    return add_ports(Parser(prog="finetune ui", description=__doc__, allow_abbrev=False))


def main(argv: Sequence[str]) -> int:
    """Shows the pages until a signal; returns the exit status."""
    return exit_status_of(lambda: _ui(argv), seconds=None)  # which the servers take, too


def _ui(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    announce(f"finetune ui: starts the pages of what lies in {home()}")
    from flows.servers.pages import show_pages

    show_pages({"prefect": options.prefect_port, "mlflow": options.mlflow_port})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
