"""Prefect's and MLflow's pages over the local files of `$FINETUNE_HOME`: `python -m flows.ui`, until Ctrl-C.

Both servers listen on this machine only. A server that PREFECT_API_URL or MLFLOW_TRACKING_URI names is not started
here; its address is printed. A database that MLFLOW_TRACKING_URI names has no pages, so MLflow is started over it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from flows.servers.processes import Server, port, start_mlflow, start_prefect, stop_signals, wait_until_up, watch
from lib.errors import FinetuneError
from tasks.environment import (
    MLFLOW_PORT,
    PREFECT_PORT,
    make_home,
    tracking_is_served,
    tracking_page,
    unusable_home_is_clear,
    without_password,
)


def main(argv: Sequence[str]) -> int:
    """Starts what the environment does not name, prints the addresses and, if it started anything, waits for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m flows.ui", description=__doc__)
    parser.add_argument("--prefect-port", type=port, default=PREFECT_PORT)
    parser.add_argument("--mlflow-port", type=port, default=MLFLOW_PORT)
    options = parser.parse_args(argv)
    servers: list[Server] = []
    with stop_signals() as stop:
        try:
            with unusable_home_is_clear():
                make_home()
                if not os.environ.get("PREFECT_API_URL"):
                    servers.append(start_prefect(options.prefect_port))
                if not tracking_is_served():
                    servers.append(start_mlflow(options.mlflow_port))
            wait_until_up(servers, stop)
            pages = {server.name: server.page for server in servers}
            _say("Prefect", pages.get("Prefect", os.environ.get("PREFECT_API_URL", "")))
            _say("MLflow", pages.get("MLflow", tracking_page()))
            if servers:
                print("Ctrl-C stops what was started here", flush=True)  # noqa: T201 - this is the program's output
            watch(servers, stop)
        except FinetuneError as error:
            print(f"error: {error}", file=sys.stderr)  # noqa: T201
            return 2
        finally:
            for server in servers:
                server.stop()
    return 0


def _say(name: str, address: str) -> None:
    print(f"{name:8} {without_password(address)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
