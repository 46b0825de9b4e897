"""A PostgreSQL server of a test's own, with a user who needs a password."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from tests.support.e2e import free_port

USER, PASSWORD = "ann", "p@ss/w%rd: 1"  # whatever an address has to encode


@dataclass(frozen=True)
class Postgres:
    """A server over the database in `folder`."""

    folder: Path
    port: int

    @property
    def address(self) -> str:
        """As DATABASE takes it, without a database's name."""
        return f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Starts it, and returns when it answers."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._as_nobody_special("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        """Ends it at once, where it runs."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self._as_nobody_special("pg_ctl", "-D", "data", "-m", "immediate", "stop")

    def kill(self) -> None:
        """Kills all of its processes."""
        main = psutil.Process(int((self.folder / "data" / "postmaster.pid").read_text().split()[0]))
        family = [main, *main.children(recursive=True)]
        for process in family:
            process.kill()
        psutil.wait_procs(family, timeout=30)
        (self.folder / "data" / "postmaster.pid").unlink()  # as a restarted machine's is: of no process

    def make(self) -> None:
        """Makes the database."""
        (self.folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
            shutil.chown(self.folder / "password", "postgres")
        self._as_nobody_special(
            "initdb", "-D", "data", "-U", USER, "-A", "scram-sha-256", "-E", "UTF8", "--pwfile=password"
        )

    def _as_nobody_special(self, *command: str) -> None:
        switch = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run([*switch, *command], cwd=self.folder, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A running server; skips the test where PostgreSQL is not installed."""
    missing = [name for name in ("initdb", "pg_ctl", "pg_dump", "psql") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"PostgreSQL is not here: {', '.join(missing)}")
    # Not in pytest's folders, which only their owner may enter: PostgreSQL does not run as root.
    with tempfile.TemporaryDirectory(prefix="finetune-postgres-", ignore_cleanup_errors=True) as name:
        server = Postgres(Path(name), free_port())
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def postgres() -> Iterator[str]:
    """The address of a running server."""
    with postgres_server() as server:
        yield server.address
