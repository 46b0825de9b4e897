"""A Ray cluster of two nodes on this machine, which no other machine reaches: `python -m lib.cluster.laptop`.

`ray start` would listen on all of the machine's addresses, and whoever reaches a Ray cluster runs code there.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lib.cluster.joining import ENVIRONMENT, sigterm_kept
from lib.extras import require

PORT = 6379  # Ray's own
WITHOUT = {"include_dashboard": False, "no_monitor": True, "include_log_monitor": False}
# A node that has chosen these itself waits until the processes behind them have started.
PORTS = ("dashboard_agent_listen_port", "metrics_agent_port", "metrics_export_port", "runtime_env_agent_port")


@contextmanager
def started(processors: int, *, port: int = 0) -> Iterator[Any]:
    """Starts the first node on the loopback address; yields the cluster, a `ray.cluster_utils.Cluster`.

    port: of its address (0: one that is free).
    """
    require("ray", "cluster", "a Ray cluster")
    os.environ |= ENVIRONMENT
    import ray
    from ray.cluster_utils import Cluster

    first = _node(processors, gcs_server_port=port or None, **WITHOUT)
    with sigterm_kept():
        cluster = Cluster(initialize_head=True, head_node_args=first)
    try:
        yield cluster
    finally:
        ray.shutdown()  # one that is still connected would wait for nodes that have ended
        cluster.shutdown()  # type: ignore[no-untyped-call]


def add_node(cluster: Any, processors: int) -> Any:
    """Starts another node, whose processes end with the thread that does this; returns it."""
    with sigterm_kept():
        return cluster.add_node(**_node(processors))


def _node(processors: int, **more: Any) -> dict[str, Any]:
    """Returns what a node is started with."""
    with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    ports = {name: each.getsockname()[1] for name, each in zip(PORTS, with_ports, strict=True)}
    for each in with_ports:
        each.close()
    return {"num_cpus": processors, **ports, **more}


def main() -> None:
    """Starts two nodes, and ends them on Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m lib.cluster.laptop", description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=PORT, help=f"of the cluster's address ({PORT})")
    half = max(1, (os.cpu_count() or 2) // 2)
    parser.add_argument("--processors", type=int, default=half, help=f"of each node ({half})")
    options = parser.parse_args()
    with started(options.processors, port=options.port) as cluster:
        add_node(cluster, options.processors)
        for kind in (signal.SIGINT, signal.SIGTERM):
            signal.signal(kind, signal.default_int_handler)
        print(f"two nodes of Ray at {cluster.address}; Ctrl-C ends them", flush=True)  # noqa: T201 - its output
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
