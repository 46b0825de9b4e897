"""What must be the same on all machines of a cluster, so that the same parts come out: the code, and the packages."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from functools import cache

from lib.errors import ClusterError, listed
from lib.files.checksum import json_sha256
from lib.store.artifacts import versions
from lib.store.fingerprint import code_fingerprint


@dataclass(frozen=True)
class Agreement:
    """What computes where a run is. module: of the function that is called. code: a hash of it and of all that it
    reaches. packages: by name, their versions."""

    module: str
    code: str
    packages: tuple[tuple[str, str], ...]

    @classmethod
    def here(cls, module: str) -> Agreement:
        """Returns what this process has."""
        return cls(module, json_sha256(code_fingerprint(module)), tuple(sorted(versions().items())))


@cache
def require_agreement(theirs: Agreement) -> None:
    """Raises ClusterError if this machine would compute with other code, or with other packages, than the run's."""
    ours = Agreement.here(theirs.module)
    if ours == theirs:
        return
    host, here, there = socket.gethostname(), dict(ours.packages), dict(theirs.packages)
    other = [
        f"{name} {here.get(name, 'missing')} instead of {there.get(name, 'none')}"
        for name in sorted({*here, *there})
        if here.get(name) != there.get(name)
    ]
    if other:
        raise ClusterError(
            f"the machine {host} of the Ray cluster has {listed(other)}: install the versions of requirements.lock on"
            " all machines, the one that runs included"
        )
    raise ClusterError(
        f"the machine {host} of the Ray cluster has other code of finetune-flows in {theirs.module} or below: install"
        " the same version on all machines, the one that runs included"
    )
