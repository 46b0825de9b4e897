"""Prefect's cache and locks on top of the artifact store.

Prefect asks `ArtifactRecords` whether to run a task. The artifact store is the only record of what exists: moving it
keeps its cache hits, damaging it loses them. Prefect's result files, in `.results/`, are made from it at every read.
"""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout
from prefect._internal.result_records import ResultRecordMetadata
from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext
from prefect.filesystems import WritableFileSystem
from prefect.serializers import JSONSerializer
from prefect.transactions import IsolationLevel

from lib.files.lock import Lock, tried
from lib.store.artifacts import key_of
from tasks.engine.log import run_log
from tasks.store import artifact_store


def results_folder() -> Path:
    """Returns the folder of Prefect's copies of task results."""
    return artifact_store().local / ".results"


@dataclass
class ArtifactPolicy(CachePolicy):
    """Prefect's cache key of a task run: `<step>/<key>`, the artifact's place in the store."""

    def compute_key(
        self,
        task_ctx: TaskRunContext,  # noqa: ARG002 - Prefect's signature
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> str:
        """Computes the key from the task's parameter `ingredients`."""
        return f"{inputs['ingredients']['step']}/{key_of(inputs['ingredients'])}"


class ArtifactRecords(WritableFileSystem):
    """Prefect's records of task results: a record exists if the artifact store has the complete artifact."""

    _block_type_name = "Finetune artifact records"

    # Prefect's engine calls these with `_sync=True`; without that parameter it would silently cache nothing.
    def read_path(self, path: str, _sync: bool | None = None) -> bytes:  # type: ignore[override]
        """Returns the record of artifact `<step>/<key>`; raises FileNotFoundError, a miss, if there is none."""
        step_name, key = path.split("/")
        artifact = artifact_store(warn=run_log().warning).find(step_name, key)
        if artifact is None:
            raise FileNotFoundError(path)
        serializer = JSONSerializer()
        result = results_folder() / path
        result.parent.mkdir(parents=True, exist_ok=True)
        # Written atomically: another run may be reading the same record.
        fresh = result.with_name(f".{result.name}-{os.getpid()}-{threading.get_ident()}")
        fresh.write_bytes(serializer.dumps(artifact))
        fresh.replace(result)
        return ResultRecordMetadata(storage_key=str(result), serializer=serializer).dump_bytes()

    async def aread_path(self, path: str) -> bytes:
        """`read_path` for Prefect's asynchronous engine."""
        return await asyncio.to_thread(self.read_path, path)

    def write_path(self, path: str, content: bytes, _sync: bool | None = None) -> None:  # type: ignore[override]
        """Does nothing: the task has published the artifact, which is the record."""

    async def awrite_path(self, path: str, content: bytes) -> None:
        """Does nothing, like `write_path`."""


class StoreLocks:
    """Prefect's lock manager on the store's locks, which end with their process."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Lock] = {}
        self._guard = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> StoreLocks:
        return self  # copies of a policy must share the locks

    def _lock(self, key: str) -> Lock:
        step_name, _, name = key.partition("/")
        return artifact_store().lock(step_name, name)

    def acquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,  # noqa: ARG002 - a lock that expired could be held twice
    ) -> bool:
        """Waits for the lock of `key`; returns False after `acquire_timeout` seconds."""
        if self.is_lock_holder(key, holder):
            return True
        lock = self._lock(key)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            run_log().warning("%s is being computed by another run: waiting for it", key)
            try:
                lock.acquire(timeout=-1 if acquire_timeout is None else acquire_timeout)
            except Timeout:
                return False
        with self._guard:
            self._held[key, holder] = lock
        return True

    def release_lock(self, key: str, holder: str) -> None:
        """Releases the lock; raises ValueError if `holder` does not hold it."""
        with self._guard:
            lock = self._held.pop((key, holder), None)
        if lock is None:
            raise ValueError(f"{holder} does not hold the lock of {key}")
        lock.release()

    def is_locked(self, key: str) -> bool:
        """Whether any process holds the lock."""
        with tried(self._lock(key)) as free:
            return not free

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Whether this holder holds the lock."""
        with self._guard:
            return (key, holder) in self._held

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Waits until the lock is free; returns False after `timeout` seconds."""
        lock = self._lock(key)
        try:
            lock.acquire(timeout=-1 if timeout is None else timeout)
        except Timeout:
            return False
        lock.release()
        return True

    async def aacquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """`acquire_lock` for Prefect's asynchronous engine."""
        return await asyncio.to_thread(self.acquire_lock, key, holder, acquire_timeout, hold_timeout)

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """`wait_for_lock` for Prefect's asynchronous engine."""
        return await asyncio.to_thread(self.wait_for_lock, key, timeout)


# One for all tasks of this process, which share its locks.
CACHE = ArtifactPolicy().configure(
    key_storage=ArtifactRecords(), isolation_level=IsolationLevel.SERIALIZABLE, lock_manager=StoreLocks()
)
