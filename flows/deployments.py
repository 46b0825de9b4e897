"""The flows as a schedule or Prefect's form starts them: a recipe's name, and what this run has otherwise.

They run what the command line runs and have its flows' names, so that a job is one flow run, whoever started it. There
is one for each deployment of prefect.yaml, because retries and time-outs are a flow's: a deployment of Prefect has
neither. What a job does is in the flows themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import State, flow, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRunPolicy
from prefect.states import Completed

from flows import score
from flows.run.form import Overrides, dotted, overrides_of, recipe_name
from flows.run.names import named_now
from flows.run.recorded import perform
from flows.use_cases.classify import CLASSIFY
from flows.use_cases.instruct import INSTRUCT
from lib.errors import (
    ArchiveError,
    ChecksumError,
    FinetuneError,
    LabelError,
    MessagesError,
    RecipeError,
    SourceError,
    TrainingError,
)
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.instruct import InstructRecipe
from lib.recipes.reading import build_recipe, load_recipe
from lib.recipes.scoring import ScoringJob
from tasks.environment import home

# What ends the same way however often it is tried: a person has to put it right first.
FINAL = (RecipeError, ChecksumError, ArchiveError, MessagesError, LabelError, TrainingError)
MINUTES, HOURS = 60, 3600  # seconds

if TYPE_CHECKING:
    ClassifyRecipeName = str
    InstructRecipeName = str
    ClassifyOverrides = Overrides
    InstructOverrides = Overrides
    ScoringOverrides = Overrides
else:  # made from the recipes, which a type checker cannot follow
    ClassifyRecipeName, InstructRecipeName = recipe_name("classify"), recipe_name("instruct")
    ClassifyOverrides, InstructOverrides = overrides_of(ClassifyRecipe), overrides_of(InstructRecipe)
    ScoringOverrides = overrides_of(ScoringJob, without=("inputs", "output"))


@contextmanager
def retried_if_that_can_help() -> Iterator[None]:
    """Takes the present flow run's retries away when it ends with an error that only a person can put right."""
    try:
        yield
    except FinetuneError as error:
        if isinstance(error, FINAL) or (isinstance(error, SourceError) and not error.temporary):
            with get_client(sync_client=True) as prefect:
                prefect.update_flow_run(runtime.flow_run.id, empirical_policy=FlowRunPolicy(retries=0, retry_delay=0))
        raise


# -- fine-tuning ------------------------------------------------------------------------------------------------


def _classify_recipe(recipe: str, overrides: Overrides) -> ClassifyRecipe:
    return load_recipe(recipe, dotted(overrides), folder="classify", model=ClassifyRecipe)


def _instruct_recipe(recipe: str, overrides: Overrides) -> InstructRecipe:
    return load_recipe(recipe, dotted(overrides), folder="instruct", model=InstructRecipe)


def _by_recipe(resolve: Callable[..., ClassifyRecipe | InstructRecipe]) -> Callable[[], str]:
    """What gives a run its name, as on the command line: the resolved recipe's, or what was given if there is none."""

    def name() -> str:
        given = runtime.flow_run.parameters
        try:
            return named_now(resolve(**given).name)
        except RecipeError:
            return named_now(given["recipe"])  # what is wrong is said by the run itself

    return name


@flow(
    name=CLASSIFY.flow,
    description=CLASSIFY.description,
    flow_run_name=_by_recipe(_classify_recipe),
    log_prints=False,
)
def finetune_classifier(
    recipe: ClassifyRecipeName = "quickstart",
    overrides: ClassifyOverrides = ClassifyOverrides(),  # noqa: B008 - never changed
) -> dict[str, Any]:
    """Fine-tunes a classifier; returns what `--json` prints on the command line.

    Args:
        recipe: a bundled recipe, or the absolute path of a YAML file on the machine that runs it
        overrides: fields that this run has otherwise; what is left out stays as the recipe says
    """
    with retried_if_that_can_help():
        return perform(CLASSIFY, _classify_recipe(recipe, overrides))


@flow(
    name=INSTRUCT.flow,
    description=INSTRUCT.description,
    flow_run_name=_by_recipe(_instruct_recipe),
    log_prints=False,
)
def finetune_instructions(
    recipe: InstructRecipeName = "quickstart",
    overrides: InstructOverrides = InstructOverrides(),  # noqa: B008 - never changed
) -> dict[str, Any]:
    """Teaches a GPT to follow instructions; returns what `--json` prints on the command line.

    Args:
        recipe: a bundled recipe, or the absolute path of a YAML file on the machine that runs it
        overrides: fields that this run has otherwise; what is left out stays as the recipe says
    """
    with retried_if_that_can_help():
        return perform(INSTRUCT, _instruct_recipe(recipe, overrides))


# -- scoring ----------------------------------------------------------------------------------------------------


def _name_of_scoring_run() -> str:
    given = runtime.flow_run.parameters["overrides"].model_dump(mode="json")
    return named_now(given.get("name") or "score")


@flow(
    name=score.NAME,
    description=score.score_messages.description,
    flow_run_name=_name_of_scoring_run,
    log_prints=False,
)
def score_messages(
    inputs: tuple[str, ...],
    output: str,
    overrides: ScoringOverrides = ScoringOverrides(),  # noqa: B008 - never changed
) -> dict[str, Any] | State[None]:
    """Scores files with a registered classifier; returns what `--json` prints on the command line.

    Args:
        inputs: files, folders or patterns; one that is not absolute lies in the worker's $FINETUNE_HOME
        output: the folder for the answers; what is in it already is kept
        overrides: the other fields of a scoring job
    """
    places = [_in_home(place) for place in inputs]
    waiting = [str(place) for place in places if not _is_empty_folder(place)]
    if not waiting:
        return Completed(message="Nothing to score: there is no file in " + ", ".join(str(place) for place in places))
    given: Mapping[str, Any] = {"inputs": waiting, "output": str(_in_home(output))}
    with retried_if_that_can_help():
        job = build_recipe(given, dotted(overrides), origin="the job", model=ScoringJob)
        return score.score_messages.fn(job)


def _in_home(place: str) -> Path:
    return home() / Path(place).expanduser()


def _is_empty_folder(place: Path) -> bool:
    """Whether there is such a folder and nothing in it yet: nothing is wrong with a quiet hour."""
    return place.is_dir() and not any(path.is_file() for path in place.rglob("*"))


# -- one for each deployment of prefect.yaml ----------------------------------------------------------------------

classify_nightly = finetune_classifier.with_options(
    retries=2, retry_delay_seconds=10 * MINUTES, timeout_seconds=6 * HOURS
)
classify_adhoc = finetune_classifier.with_options(retries=0, timeout_seconds=12 * HOURS)  # a person looks at it
instruct_weekly = finetune_instructions.with_options(
    retries=2, retry_delay_seconds=30 * MINUTES, timeout_seconds=48 * HOURS
)
score_hourly = score_messages.with_options(retries=1, retry_delay_seconds=5 * MINUTES, timeout_seconds=2 * HOURS)
