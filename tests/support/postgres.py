"""A PostgreSQL server of a test's own, with a user who needs a password."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.e2e import free_port

USER, PASSWORD = "ann", "p@ss/w%rd: 1"  # whatever an address has to encode


@contextmanager
def postgres() -> Iterator[str]:
    """The server's address, as DATABASE takes it and without a database's name; skips the test where there is none."""
    missing = [name for name in ("initdb", "pg_ctl", "pg_dump", "psql") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"PostgreSQL is not here: {', '.join(missing)}")
    # Not in pytest's folders, which only their owner may enter: PostgreSQL does not run as root.
    with tempfile.TemporaryDirectory(prefix="finetune-postgres-", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        (folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
            shutil.chown(folder / "password", "postgres")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        _as_nobody_special(
            folder, "initdb", "-D", "data", "-U", USER, "-A", "scram-sha-256", "-E", "UTF8", "--pwfile=password"
        )
        _as_nobody_special(folder, "pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")
        try:
            yield f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/"
        finally:
            _as_nobody_special(folder, "pg_ctl", "-D", "data", "-m", "immediate", "stop")


def _as_nobody_special(folder: Path, *command: str) -> None:
    switch = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    subprocess.run([*switch, *command], cwd=folder, check=True, stdout=subprocess.DEVNULL)
