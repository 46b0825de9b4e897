"""The steps before the training, which variants share: each distinct one is performed, or explained, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from lib.data.tables import SPLITS
from lib.errors import RecipeError
from lib.progress import Progress, silent
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.variants import Variant
from lib.store.artifacts import Artifact, key_of
from tasks.compare.job import steps_of
from tasks.engine.runner import Explainer, Forecast, Outcome, Performer
from tasks.engine.step import Run, Step
from tasks.store import artifact_store

BEFORE = (
    "tasks.steps.download:download",
    *(f"tasks.steps.classify.{name}:{name}" for name in ("messages", "balance", "split", "holdout")),
    "tasks.steps.tokenizer:tokenizer",
    "tasks.steps.classify.tokenize:tokenize",
    "tasks.steps.backbone:backbone",
    "tasks.steps.classify.features:features",
)
DATA = ("download", "messages", "balance", "split", "holdout")  # those of them that do not know the network


@dataclass
class Shared:
    """Performs what comes before a training, for one recipe after the other.

    run: of the comparison; its recipe is nobody's. outcomes: of all steps that were performed.
    """

    run: Run
    progress_of: Callable[[str], Progress] = lambda step: silent
    outcomes: list[Outcome] = field(default_factory=list)
    _by_mark: dict[tuple[str, str], Artifact] = field(default_factory=dict)
    _by_key: dict[tuple[str, str], Artifact] = field(default_factory=dict)

    def made_for(self, recipe: ClassifyRecipe, *, only: Sequence[str] | None = None) -> dict[str, Artifact]:
        """Returns the artifacts that a training by this recipe reads, by step; `only`: of these steps. Raises what the
        steps raise."""
        performer = Performer(replace(self.run, recipe=recipe), self.progress_of)
        for step in steps_of(BEFORE):
            if only is None or step.name in only:
                performer.made[step.name] = self._made(performer, step)
        return performer.made

    def _made(self, performer: Performer, step: Step) -> Artifact:
        recipe, inputs = performer.run.recipe, {name: performer.made[name] for name in step.inputs}
        mark = (step.name, step.mark(recipe, inputs))
        if mark not in self._by_mark:
            key = (step.name, key_of(step.ingredients(recipe, inputs)))
            if key not in self._by_key:
                self._by_key[key] = performer(step)
                self.outcomes.append(performer.outcomes[-1])
            self._by_mark[mark] = self._by_key[key]
        return self._by_mark[mark]


class Forecasts:
    """Says of the steps that variants share, and of each variant's own, whether they would run; runs nothing."""

    def __init__(self) -> None:
        self.shared: dict[tuple[str, str], tuple[Forecast, list[str]]] = {}  # with the variants that share each
        self.own: list[tuple[str, Forecast]] = []  # with the training's name
        self._names: set[str] = set()

    @property
    def variants(self) -> int:
        """How many variants there are."""
        return len(self._names)

    def add(
        self,
        variant: str,
        training: str,
        recipe: ClassifyRecipe,
        steps: Sequence[str],
        *,
        before: Sequence[str] | None = None,
    ) -> None:
        """Adds a training. steps: its own, as `module:name`. before: the names of those before them, if not all."""
        explainer = Explainer(Run(recipe))
        self._names.add(variant)
        marks: dict[str, str] = {}
        for step in (each for each in steps_of(BEFORE) if before is None or each.name in before):
            known = {name: explainer.found[name] for name in step.inputs if name in explainer.found}
            own = {**step.ingredients(recipe, known), "inputs": [marks[name] for name in step.inputs]}
            marks[step.name] = key_of(own)
            explainer(step)
            _, sharing = self.shared.setdefault((step.name, marks[step.name]), (explainer.forecasts[-1], []))
            if variant not in sharing:
                sharing.append(variant)
        for step in steps_of(tuple(steps)):
            explainer(step)
            self.own.append((training, explainer.forecasts[-1]))


def require_same_messages(made: Sequence[tuple[Variant, dict[str, Artifact]]], *, folds: bool) -> None:
    """Raises RecipeError unless all variants are measured on the same messages, without which nothing can be said of
    them. made: each variant with its artifact of `holdout`. folds: whether they are measured on folds of train, too."""
    first, *others = made
    wanted = _messages(first[1]["holdout"], folds=folds)
    for variant, artifacts in others:
        if artifacts["holdout"].digest == first[1]["holdout"].digest:
            continue
        if _messages(artifacts["holdout"], folds=folds) != wanted:
            of = "messages of train or validation" if folds else "validation messages"
            raise RecipeError(
                f"variants {first[0].name!r} and {variant.name!r} have other {of}, so that their figures cannot be"
                " compared: let them have the same data and split, and balance.method undersample in all of them or"
                " in none"
            )


def _messages(holdout: Artifact, *, folds: bool) -> list[tuple[str, str]]:
    names = SPLITS[:2] if folds else ("validation",)
    files = artifact_store().manifest(holdout.step, holdout.key).files
    return [(file.name, file.sha256) for file in files if file.name.startswith(tuple(f"{name}/" for name in names))]
