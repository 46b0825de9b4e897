"""Serves Prefect's and MLflow's pages over the local files of `$FINETUNE_HOME`, until a signal.

A server that PREFECT_API_URL or MLFLOW_TRACKING_URI names is not started; a database has no pages, so MLflow is
started over it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from flows.servers import running
from flows.servers.processes import HOST, Server, start_mlflow, start_prefect, stop_signals, wait_until_up, watch
from lib.secrets import public
from tasks.environment import make_home, tracking_is_served, tracking_uri
from tasks.running import UI, Note


def show_pages(ports: Mapping[str, int]) -> None:
    """Starts what the environment does not name, prints the addresses and, if it started anything, waits for a signal.

    `ports`: where servers that are started here listen, `prefect` and `mlflow`.
    """
    pages = {"Prefect": os.environ.get("PREFECT_API_URL", ""), "MLflow": tracking_uri().rstrip("/")}
    servers: list[Server] = []
    note: Note | None = None
    with stop_signals() as stop:
        try:
            make_home()
            if not pages["Prefect"]:
                servers.append(start_prefect(ports["prefect"]))
            if not tracking_is_served():
                servers.append(start_mlflow(ports["mlflow"]))
            wait_until_up(servers, stop)
            pages |= {server.name: server.page for server in servers}
            shown = {name: public(page) for name, page in pages.items()}
            if running.over_files():
                prefect, mlflow = (f"http://{HOST}:{ports[name]}" for name in ("prefect", "mlflow"))
                note = Note(prefect=f"{prefect}/api", mlflow=mlflow, pages=shown, over_files=True)
                running.write(note, servers, UI)
            for name, page in shown.items():
                print(f"{name:8} {page}", flush=True)  # noqa: T201 - this is the program's output
            if servers:
                print("Ctrl-C stops what was started here", flush=True)  # noqa: T201
            watch(servers, stop, lambda: running.write(note, servers, UI) if note else None)
        finally:
            for server in servers:
                server.stop()
            if note:
                running.remove(UI)
