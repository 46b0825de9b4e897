"""Register what runs by itself: a work pool, its queue, prefect.yaml's deployments, deploy/automations.yaml.

Asks the server that PREFECT_API_URL names, or the one that `finetune up` has started here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from flows.terminal.exits import announce, exit_status_of
from flows.terminal.program import Parser
from flows.terminal.say import say


def parser() -> Parser:
    """No flags but --help."""
    return Parser(prog="finetune deploy", description=__doc__, allow_abbrev=False)


def main(argv: Sequence[str]) -> int:
    """Registers and says what; returns the exit status."""
    return exit_status_of(lambda: _deploy(argv), kept="the same command registers the rest")


def _deploy(argv: Sequence[str]) -> int:
    parser().parse_args(argv)
    announce("finetune deploy: registers deployments and automations with Prefect's server")
    from flows.servers.deployments import register
    from flows.servers.running import running_api

    for name in register(os.environ.get("PREFECT_API_URL") or running_api()):
        say(f"registered {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
