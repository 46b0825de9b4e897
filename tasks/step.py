"""What makes a function a step: its cache key, its artifact, its Prefect task.

A step's function gets a `Work` (the recipe's fields that it declared, the folder to fill) and its input artifacts. The
key is made of the step's name, the digests of its inputs, the fields it `reads`, what `identity` says about things
outside the store, and the code it reaches. Reading a field that was not declared raises: a forgotten one would
otherwise mean stale results.

Prefect decides whether to run the task by asking `ArtifactRecords`, which answers from the artifact store alone: the
store is the only record of what exists, so moving it keeps its hits and damaging it loses them. Prefect's own copies of
results, below `.results/`, are made from the store whenever they are read.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout
from prefect import Task
from prefect._internal.result_records import ResultRecordMetadata
from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext
from prefect.exceptions import MissingContextError
from prefect.filesystems import WritableFileSystem
from prefect.logging import get_run_logger
from prefect.serializers import JSONSerializer
from prefect.transactions import IsolationLevel

from lib.artifacts import Artifact, Store, key_of
from lib.fingerprint import code_fingerprint
from lib.progress import Progress, silent
from lib.recipe import ClassifyRecipe
from tasks.services import store_folder

LOG = logging.getLogger("finetune.store")


class UndeclaredFieldError(Exception):
    """A step read a field of the recipe that it had not declared: a mistake in the step, not of the user."""


class DeclaredFields:
    """A recipe that shows only the fields that a step declared."""

    def __init__(self, values: Any, declared: Sequence[str], step: str, prefix: str = "") -> None:
        self._values, self._declared, self._step, self._prefix = values, declared, step, prefix

    def __getattr__(self, name: str) -> Any:
        path = f"{self._prefix}{name}"
        value = getattr(self._values, name)
        if path in self._declared:
            return value
        if any(field.startswith(f"{path}.") for field in self._declared):
            return DeclaredFields(value, self._declared, self._step, f"{path}.")
        raise UndeclaredFieldError(f"step {self._step} reads {path}: add it to the step's `reads` or `unkeyed`")


@dataclass(frozen=True)
class Work:
    """What a step's function works with."""

    recipe: ClassifyRecipe  # only the declared fields can be read
    whole_recipe: Mapping[str, Any]  # as JSON, to be kept in `noted` files; results must not depend on it
    folder: Path  # to be filled: becomes the artifact
    scratch: Path  # survives an interruption of this step
    log: logging.Logger | logging.LoggerAdapter[Any]
    progress: Progress
    tracking_run: str  # the MLflow run that live metrics go to


@dataclass(frozen=True)
class Run:
    """What every step of one flow run shares; none of it enters a key."""

    recipe: ClassifyRecipe
    tracking_run: str = ""
    progress: Progress = silent


@dataclass(frozen=True)
class Step:
    """One step of a flow: a function from declared fields and artifacts to an artifact."""

    name: str
    compute: Callable[..., None]
    reads: tuple[str, ...]
    unkeyed: tuple[str, ...]
    identity: Callable[[ClassifyRecipe], dict[str, str]] | None
    noted: tuple[str, ...]
    task_options: Mapping[str, Any]

    def ingredients(self, recipe: ClassifyRecipe, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
        """All that the artifact depends on, readable and as JSON; nothing in it names a place or a time."""
        ingredients: dict[str, Any] = {
            "step": self.name,
            "inputs": {name: artifact.digest for name, artifact in inputs.items()},
            "fields": {path: value for path, value in _leaves(recipe, self.reads) if path not in self.unkeyed},
            "code": code_fingerprint(self.compute.__module__),
        }
        if self.identity:
            ingredients["identity"] = self.identity(recipe)
        return ingredients

    def task(self) -> Task[..., Artifact]:
        """The Prefect task, called with a Run and the input artifacts by name."""
        policy = ArtifactPolicy(step=self).configure(
            key_storage=ArtifactRecords(), isolation_level=IsolationLevel.SERIALIZABLE, lock_manager=LOCKS
        )
        return Task(
            self._run,
            name=self.name,
            description=(self.compute.__doc__ or "").strip(),
            cache_policy=policy,
            persist_result=True,
            result_storage=_results_folder(),
            result_serializer=JSONSerializer(),
            cache_result_in_memory=False,
            **dict(self.task_options),
        )

    def _run(self, run: Run, inputs: dict[str, Artifact]) -> Artifact:
        """Fills a new artifact. Prefect calls this only when the store has none for the key, and holds its lock."""
        ingredients = self.ingredients(run.recipe, inputs)
        key = key_of(ingredients)
        log = run_log()
        store = Store(store_folder(), warn=log.warning)
        notes = {"tracking_run": run.tracking_run}
        with store.write(self.name, key, ingredients, noted=self.noted, notes=notes) as folder:
            fields = DeclaredFields(run.recipe, self.reads + self.unkeyed, self.name)
            work = Work(
                recipe=cast(ClassifyRecipe, fields),
                whole_recipe=run.recipe.model_dump(mode="json"),
                folder=folder,
                scratch=store.scratch(self.name, key),
                log=log,
                progress=run.progress,
                tracking_run=run.tracking_run,
            )
            self.compute(work, **inputs)
        artifact = store.find(self.name, key)
        assert artifact is not None, "an artifact that was just published is there"
        return artifact


def step(
    name: str,
    *,
    reads: Sequence[str] = (),
    unkeyed: Sequence[str] = (),
    identity: Callable[[ClassifyRecipe], dict[str, str]] | None = None,
    noted: Sequence[str] = (),
    **task_options: Any,
) -> Callable[[Callable[..., None]], Step]:
    """Makes a function `(work, **artifacts) -> None` a Step.

    `reads`: recipe fields that enter the key, or whole sections; `unkeyed`: fields that the function may read although
    they cannot change its result (addresses); `identity`: what the key says about files outside the store; `noted`:
    files of the artifact that stay out of its digest; `task_options` go to Prefect (retries, tags).
    """

    def make(compute: Callable[..., None]) -> Step:
        return Step(name, compute, tuple(reads), tuple(unkeyed), identity, tuple(noted), task_options)

    return make


def _leaves(recipe: ClassifyRecipe, paths: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The fields at these paths with their values, those of a section one by one."""
    whole = recipe.model_dump(mode="json")
    for path in paths:
        value: Any = whole
        for part in path.split("."):
            value = value[part]
        if isinstance(value, dict):
            yield from ((f"{path}.{name}", leaf) for name, leaf in value.items())
        else:
            yield path, value


def run_log() -> logging.Logger | logging.LoggerAdapter[Any]:
    """The log of the present Prefect run, or outside of one the project's own."""
    try:
        return get_run_logger()
    except MissingContextError:
        return LOG


# -- Prefect's side ---------------------------------------------------------------------------------------


@dataclass
class ArtifactPolicy(CachePolicy):
    """Prefect's key for a task run: `<step>/<key>`, the artifact's place in the store."""

    step: Step | None = None

    def compute_key(
        self,
        task_ctx: TaskRunContext,  # noqa: ARG002 - Prefect's signature
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> str | None:
        """None, which means no caching, cannot come out; an exception is raised again by the task's own body."""
        assert self.step is not None
        return f"{self.step.name}/{key_of(self.step.ingredients(inputs['run'].recipe, inputs['inputs']))}"

    def __deepcopy__(self, memo: dict[int, Any]) -> ArtifactPolicy:
        # `configure` copies deeply, but a step is immutable and its functions must stay the same objects.
        return ArtifactPolicy(self.key_storage, self.isolation_level, self.lock_manager, step=self.step)


class ArtifactRecords(WritableFileSystem):
    """Prefect's records of task results, answered from the artifact store: one exists if its artifact is whole."""

    _block_type_name = "Finetune artifact records"

    # Prefect's engine calls these with `_sync=True`; without that parameter it would silently cache nothing.
    def read_path(self, path: str, _sync: bool | None = None) -> bytes:  # type: ignore[override]
        """A record for the artifact `<step>/<key>`; raises FileNotFoundError, a miss, if none is there and whole."""
        step_name, key = path.split("/")
        artifact = Store(store_folder(), warn=run_log().warning).find(step_name, key)
        if artifact is None:
            raise FileNotFoundError(path)
        serializer = JSONSerializer()
        result = _results_folder() / path
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_bytes(serializer.dumps(artifact))
        return ResultRecordMetadata(storage_key=str(result), serializer=serializer).dump_bytes()

    async def aread_path(self, path: str) -> bytes:
        """`read_path` for Prefect's asynchronous engine."""
        return await asyncio.to_thread(self.read_path, path)

    def write_path(self, path: str, content: bytes, _sync: bool | None = None) -> None:  # type: ignore[override]
        """Nothing to do: the task itself published the artifact, which is the record."""

    async def awrite_path(self, path: str, content: bytes) -> None:
        """Nothing to do, as in `write_path`."""


class StoreLocks:
    """Prefect's lock manager on the store's file locks, which die with their process."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], FileLock] = {}
        self._guard = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> StoreLocks:
        return self  # copies of a policy must agree about who holds what

    def _lock(self, key: str) -> FileLock:
        step_name, _, name = key.partition("/")
        return Store(store_folder()).lock(step_name, name)

    def acquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,  # noqa: ARG002 - a lock that expires could be held twice
    ) -> bool:
        """Waits until nobody else works on `key`; False after `acquire_timeout` seconds."""
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
        """Lets the next one in; raises ValueError if `holder` does not hold the lock."""
        with self._guard:
            lock = self._held.pop((key, holder), None)
        if lock is None:
            raise ValueError(f"{holder} does not hold the lock of {key}")
        lock.release()

    def is_locked(self, key: str) -> bool:
        """Whether anybody, in this process or another, holds the lock."""
        lock = self._lock(key)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Whether this holder has the lock."""
        with self._guard:
            return (key, holder) in self._held

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Waits until the lock is free; False after `timeout` seconds."""
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


LOCKS = StoreLocks()  # one for all tasks of this process, so that all agree about what it holds


def _results_folder() -> Path:
    return store_folder() / ".results"
