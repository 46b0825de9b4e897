"""The flows as a schedule or Prefect's form starts them: a recipe's name, and what this run changes.

There is one for each deployment of prefect.yaml, because retries and timeouts belong to a flow, not to a deployment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import Flow, State, flow, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRunPolicy
from prefect.states import Completed

from flows.run import scored
from flows.run.form import Changes, form_of_recipe, form_of_scoring, recipe_name
from flows.run.names import name_of_run
from flows.run.recorded import perform
from flows.use_cases.classify import CLASSIFY
from flows.use_cases.instruct import INSTRUCT
from flows.use_cases.use_case import UseCase
from lib.data.source.objects import is_object
from lib.errors import (
    ArchiveError,
    ChecksumError,
    ExtraError,
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
from lib.recipes.sections import Recipe
from lib.scoring import objects
from tasks.environment import home
from tasks.report.drift import SCORING

# What ends the same way however often it is tried: a person has to put it right first.
FINAL = (RecipeError, ExtraError, ChecksumError, ArchiveError, MessagesError, LabelError, TrainingError)
MINUTES, HOURS = 60, 3600  # seconds


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


def deployable(use_case: UseCase, model: type[Recipe]) -> Flow[..., dict[str, Any]]:
    """The flow of a use case as a form starts it: from a recipe's name and what this run changes."""
    form = form_of_recipe(model, use_case.name)

    def resolved(recipe: str, changes: Changes) -> Any:
        return load_recipe(recipe, changes.fields(), folder=use_case.name, model=model)

    def name() -> str:
        given = runtime.flow_run.parameters
        try:
            recipe = resolved(**given).name
        except RecipeError:  # what is wrong is said by the run itself
            recipe = Path(given["recipe"]).stem
        return name_of_run(recipe)

    def run(recipe: str = "quickstart", changes: Changes = form()) -> dict[str, Any]:  # noqa: B008 - never changed
        """Runs the use case; returns what `--json` prints on the command line.

        Args:
            recipe: a bundled recipe, or the absolute path of a YAML file on the machine that runs it
            changes: what this run changes; what is left out stays as the recipe says
        """
        with retried_if_that_can_help():
            accepted = resolved(recipe, changes)
            accepted.require_extras()
            return perform(use_case, accepted)

    run.__annotations__ |= {"recipe": recipe_name(use_case.name), "changes": form}  # made of the recipes
    return Flow(run, name=use_case.flow, description=use_case.description, flow_run_name=name)


# -- scoring ----------------------------------------------------------------------------------------------------

if TYPE_CHECKING:
    ScoringChanges = Changes
else:  # made from the fields of a job, which a type checker cannot follow
    ScoringChanges = form_of_scoring()


def _name_of_scoring_run() -> str:
    named = runtime.flow_run.parameters["changes"].model_dump().get("name")
    return name_of_run("score", *filter(None, [named]))


@flow(name=SCORING, description=scored.score_messages.description, flow_run_name=_name_of_scoring_run)
def score_messages(
    inputs: tuple[str, ...],
    output: str,
    changes: ScoringChanges = ScoringChanges(),  # noqa: B008 - never changed
) -> dict[str, Any] | State[None]:
    """Scores files with a registered classifier; returns what `--json` prints on the command line.

    Args:
        inputs: files, folders (in a bucket with a slash at the end) or patterns; one that is neither absolute nor an
            address lies in the worker's $FINETUNE_HOME
        output: the folder for the answers, or s3://bucket/prefix; what is in it already is kept
        changes: the other fields of a scoring job
    """
    places = [_in_home(place) for place in inputs]
    with retried_if_that_can_help():
        waiting = [place for place in places if not _is_empty_folder(place)]
        if not waiting:
            return Completed(message="Nothing to score: there is no file in " + ", ".join(places))
        given: Mapping[str, Any] = {"inputs": waiting, "output": _in_home(output)}
        job = build_recipe(given, changes.fields(), origin="the job", model=ScoringJob)
        return scored.score_messages.fn(job)


def _in_home(place: str) -> str:
    return place if "://" in place else str(home() / Path(place).expanduser())


def _is_empty_folder(place: str) -> bool:
    """Whether there is such a folder and nothing in it yet: nothing is wrong with a quiet hour. In a bucket one without
    anything in it is not there."""
    if is_object(place):
        return place.endswith("/") and not objects.below(place)
    return Path(place).is_dir() and not any(path.is_file() for path in Path(place).rglob("*"))


# -- one for each deployment of prefect.yaml ----------------------------------------------------------------------

_classify, _instruct = deployable(CLASSIFY, ClassifyRecipe), deployable(INSTRUCT, InstructRecipe)

classify_nightly = _classify.with_options(retries=2, retry_delay_seconds=10 * MINUTES, timeout_seconds=6 * HOURS)
classify_adhoc = _classify.with_options(retries=0, timeout_seconds=12 * HOURS)  # a person looks at it
instruct_weekly = _instruct.with_options(retries=2, retry_delay_seconds=30 * MINUTES, timeout_seconds=48 * HOURS)
score_hourly = score_messages.with_options(retries=1, retry_delay_seconds=5 * MINUTES, timeout_seconds=2 * HOURS)
