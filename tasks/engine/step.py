"""Turns a function into a step, with a cache key, an artifact and a Prefect task.

The key covers the step's name, the digests of its inputs, the fields it `reads`, its `identity` (things outside the
store) and the code it imports. The function gets a `Work` and its input artifacts. Reading an undeclared field raises,
because a forgotten field would mean stale results.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from lib.errors import StoreError
from lib.model.machine.memory import memory_suffices
from lib.progress import NOBODY, Listener, Progress, silent
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.instruct import InstructRecipe
from lib.secrets import redacted
from lib.store.artifacts import Artifact, key_of
from lib.store.fingerprint import code_fingerprint
from lib.store.warnings import WARNINGS, add_warning
from lib.training.team import ALONE, Team
from tasks.engine.log import run_log
from tasks.environment import require_room
from tasks.secrets import secrets_kept
from tasks.store import artifact_store

if TYPE_CHECKING:
    from prefect import Task

    from lib.store.store import Making

Inputs = Mapping[str, Artifact]  # a step's input artifacts, by the step that made each
AnyRecipe = ClassifyRecipe | InstructRecipe
Recipe = TypeVar("Recipe", bound=AnyRecipe)  # of the flow or flows with the step
Identity = Callable[[Any, Inputs], dict[str, str]]


class UndeclaredFieldError(Exception):
    """A step read an undeclared field of the recipe: a bug in the step, not a user error."""


class DeclaredFields:
    """A recipe of which only declared fields can be read."""

    def __init__(self, values: Any, declared: Sequence[str], step: str, prefix: str = "") -> None:
        self._values, self._declared, self._step, self._prefix = values, declared, step, prefix

    def __getattr__(self, name: str) -> Any:
        path = f"{self._prefix}{name}"
        value = getattr(self._values, name)
        if path in self._declared or name in type(self._values).__class_vars__:
            return value
        if any(field.startswith(f"{path}.") for field in self._declared):
            return DeclaredFields(value, self._declared, self._step, f"{path}.")
        raise UndeclaredFieldError(f"step {self._step} reads {path}: add it to the step's `reads` or `unkeyed`")


@dataclass(frozen=True)
class Work(Generic[Recipe]):
    """What a step's function works with."""

    recipe: Recipe  # only the declared fields can be read
    whole_recipe: Mapping[str, Any]  # as JSON, for `noted` files; results must not depend on it
    folder: Path  # to be filled: becomes the artifact
    scratch: Path  # survives an interruption of this step
    log: logging.Logger | logging.LoggerAdapter[Any]
    progress: Progress
    tracking_run: str  # the MLflow run that live metrics go to
    identity: Mapping[str, str] = field(default_factory=dict)  # what enters the key besides fields and inputs
    listener: Listener = NOBODY  # gets what a training measures
    making: Making | None = None  # what `folder` is of, which other machines may add files to
    team: Team = ALONE  # the processes that train together, of which this is one

    def warn(self, sentence: str) -> None:
        """Says a sentence now, and keeps it with the artifact: runs that reuse it show it too, on all their pages."""
        sentence = redacted(sentence)
        self.log.warning("%s", sentence)
        add_warning(self.folder, sentence)


@dataclass(frozen=True)
class Run:
    """What the steps of one flow run share; none of it enters a key."""

    recipe: AnyRecipe
    tracking_run: str = ""
    progress: Progress = silent
    listener: Listener = NOBODY
    computed: Callable[[str], None] = lambda step: None  # is told of each step that was not found but made


@dataclass(frozen=True)
class Step:
    """One step of a flow: a function from declared fields and artifacts to an artifact."""

    name: str
    compute: Callable[..., None]
    reads: tuple[str, ...]
    unkeyed: tuple[str, ...]
    identity: Identity | None
    noted: tuple[str, ...]
    code: Mapping[str, str]  # the fingerprint of the code that this process loaded
    task_options: Mapping[str, Any]

    @property
    def alone(self) -> Callable[..., None]:
        """The function itself, where another one has it done by several processes (see `tasks.steps.together`)."""
        return cast(Callable[..., None], inspect.unwrap(self.compute))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the steps whose artifacts it takes: its function's parameters after the first."""
        return tuple(inspect.signature(self.compute).parameters)[1:]

    def ingredients(self, recipe: AnyRecipe, inputs: Inputs) -> dict[str, Any]:
        """Returns all that the artifact depends on, as readable JSON without places or times."""
        ingredients: dict[str, Any] = {
            "step": self.name,
            "inputs": {name: artifact.digest for name, artifact in inputs.items()},
            "fields": {path: value for path, value in _leaves(recipe, self.reads) if path not in self.unkeyed},
            "code": dict(self.code),
        }
        if self.identity:
            ingredients["identity"] = self.identity(recipe, inputs)
        return ingredients

    def mark(self, recipe: AnyRecipe, inputs: Inputs) -> str:
        """Returns a hash of all that the step can see of a recipe and its inputs: within one run, where nothing outside
        changes, two recipes with the same have the same artifact. Asks for no identity, unlike `ingredients`."""
        seen = dict(_leaves(recipe, [*self.reads, *self.unkeyed]))
        return key_of({"inputs": {name: artifact.digest for name, artifact in inputs.items()}, "fields": seen})

    def task(self, *, reused: bool = False) -> Task[..., Artifact]:
        """Returns the Prefect task, called with a Run, the ingredients and the input artifacts by name.

        A step to be `reused` carries no tags: Prefect takes a tag's concurrency slot before it looks into the cache, so
        a cache hit would wait for the run that trains.
        """
        from prefect import Task  # here, because explaining needs no Prefect
        from prefect.serializers import JSONSerializer

        from tasks.engine.prefect_cache import CACHE, results_folder

        options = {name: value for name, value in self.task_options.items() if not (reused and name == "tags")}
        return Task(
            self._run,
            name=self.name,
            task_run_name=self.name,
            description=(self.compute.__doc__ or "").strip(),
            cache_policy=CACHE,
            persist_result=True,
            result_storage=results_folder(),
            result_serializer=JSONSerializer(),
            cache_result_in_memory=False,
            **options,
        )

    def without_prefect(self, run: Run, inputs: Inputs) -> Artifact:
        """Returns the artifact, found or made, where no flow run shows that; one process at a time makes it."""
        ingredients = self.ingredients(run.recipe, inputs)
        store, key = artifact_store(warn=run_log().warning), key_of(ingredients)
        with store.lock(self.name, key):
            found = store.find(self.name, key)
            return found or self._run(run, ingredients, dict(inputs))

    def _run(self, run: Run, ingredients: dict[str, Any], inputs: dict[str, Artifact]) -> Artifact:
        """Makes the artifact. Called only where there is none, by whoever holds the key's lock."""
        self.load_code(self.code)
        require_room()
        key = key_of(ingredients)
        log = run_log()
        store = artifact_store(warn=log.warning)
        notes = {"tracking_run": run.tracking_run}
        with store.writing(self.name, key, ingredients, noted=(*self.noted, WARNINGS), notes=notes) as making:
            fields = DeclaredFields(run.recipe, self.reads + self.unkeyed, self.name)
            work = Work(
                recipe=cast(AnyRecipe, fields),
                whole_recipe=run.recipe.model_dump(mode="json"),
                folder=making.folder,
                making=making,
                scratch=store.scratch(self.name, key),
                log=log,
                progress=run.progress,
                tracking_run=run.tracking_run,
                identity=ingredients.get("identity", {}),
                listener=run.listener,
            )
            with secrets_kept(), memory_suffices(f"the step {self.name}"):
                self.compute(work, **{name: store.bound(made) for name, made in inputs.items()})
        run.computed(self.name)
        artifact = store.find(self.name, key)
        assert artifact is not None, "an artifact that was just published is there"
        return artifact

    def load_code(self, code: Mapping[str, str]) -> None:
        """Imports the step's code, so that later edits cannot affect this process. code: its fingerprint in the key.
        Raises StoreError if it no longer is."""
        for module in code:
            importlib.import_module(module)
        now = code_fingerprint(self.compute.__module__)
        changed = sorted(module for module in {*now, *code} if now.get(module) != code.get(module))
        if changed:
            raise StoreError(f"the code of {', '.join(changed)} changed after this run began: run again")


def step(
    name: str,
    *,
    reads: Sequence[str] = (),
    unkeyed: Sequence[str] = (),
    identity: Identity | None = None,
    noted: Sequence[str] = (),
    **task_options: Any,
) -> Callable[[Callable[..., None]], Step]:
    """Turns a function `(work, **artifacts) -> None` into a Step.

    `reads`: recipe fields or whole sections that enter the key. `unkeyed`: readable fields that cannot change the
    result (addresses). `identity`: what else enters the key, such as what identifies files outside the store. `noted`:
    files of the artifact outside its digest. `task_options` go to Prefect (retries, tags).
    """

    def make(compute: Callable[..., None]) -> Step:
        code = code_fingerprint(compute.__module__)
        return Step(name, compute, tuple(reads), tuple(unkeyed), identity, tuple(noted), code, task_options)

    return make


def _leaves(recipe: AnyRecipe, paths: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yields the fields at these paths with their values, those of a section one by one."""
    whole = recipe.model_dump(mode="json")
    for path in paths:
        value: Any = whole
        for part in path.split("."):
            value = value[part]
        if isinstance(value, dict):
            yield from ((f"{path}.{name}", leaf) for name, leaf in value.items())
        else:
            yield path, value
