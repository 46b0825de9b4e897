"""Carries out a promotion decision: aliases, and tags with the decision and its numbers."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.transactions import Transaction, get_transaction
from pydantic import BaseModel

from lib.evaluation.promotion import Decision, page
from tasks.engine.page import has_page
from tasks.engine.pageless import create_markdown_artifact
from tasks.record.checked import EmptyAnswerError
from tasks.record.mlflow_run import FAILURES, client, loss_warned
from tasks.registry.champions import CHAMPIONS_TAG, champion_before, champion_of, crown, restore
from tasks.registry.frozen import FROZEN_TAG, FrozenTest, frozen_test, note_frozen
from tasks.registry.models import CHALLENGER, CHAMPION
from tasks.registry.register import PROMOTION_TAG, STAYS, Registered, stays_if_it_may_pass, versions_of
from tasks.secrets import secrets_kept

WHY_TAG = f"{PROMOTION_TAG}.why"
CHAMPION_TAG = f"{PROMOTION_TAG}.champion"
FROZEN_OF_VERSION = f"{PROMOTION_TAG}.frozen_test"  # the frozen test set that the version did not learn from


class Decided(BaseModel):
    """A decision, and what it rests on."""

    decision: Decision
    frozen: FrozenTest | None = None  # to become the name's if it has none
    unseen: bool = False  # whether the version did not learn from it
    crowned: bool = False  # whether it was made champion by hand, before


@task(
    name="promote",
    task_run_name="promote",
    description="Points the aliases at what was decided to be champion and challenger",
    cache_policy=NO_CACHE,
)
@secrets_kept()
@stays_if_it_may_pass()
def promote(registered: Registered, decided: Decided | None = None) -> Registered:
    """Writes the decision and returns the version with its new aliases; restores everything if a part fails.

    Without a decision, a version decided about before stays as it is; a new one becomes champion if the name has none,
    since there is nothing to compare it with. Later ones are promoted by hand.
    """
    tracking = client()
    before = tracking.get_registered_model(registered.name)
    version = tracking.get_model_version(registered.name, registered.version)
    if decided is None and PROMOTION_TAG in version.tags:
        return _as_it_is(tracking, registered)
    decided = decided or _without_comparison(champion_to_beat(before, version))
    transaction = get_transaction()
    if transaction is not None:
        transaction.set("before", (before, version))
    try:
        _write(tracking, registered, decided)
    except FAILURES:
        raise  # nothing can be taken back either: the next try goes on from here
    except BaseException:
        _take_back(tracking, before, version)
        raise
    if has_page():
        with loss_warned("Prefect does not show what became of the version"):
            _show(registered, decided)
    return _as_it_is(tracking, registered)


def as_registered_by(run_id: str, registered: Registered) -> Registered:
    """Returns a version as a new one if it is the run's own, which was registered when MLflow failed before all was
    said; as one that may be withdrawn, unless it had been decided about."""
    version = client().get_model_version(registered.name, registered.version)
    if version.run_id != run_id:
        return registered
    model = None if PROMOTION_TAG in version.tags else str(version.source).removeprefix("models:/")
    return registered.model_copy(update={"new": True, "model_id": model})


def _show(registered: Registered, decided: Decided) -> None:
    create_markdown_artifact(
        page(
            decided.decision,
            name=registered.name,
            version=registered.version,
            frozen=decided.frozen.sha256 if decided.frozen else None,
        ),
        key="promotion",
        description=f"What became of {registered.name} version {registered.version}",
    )


@promote.on_rollback
def unpromote(transaction: Transaction) -> None:
    """Undoes a complete promotion if the run is cancelled or crashes afterwards."""
    before: tuple[RegisteredModel, ModelVersion] | None = transaction.get("before", None)
    if before is not None and not transaction.get(STAYS, False):
        _take_back(client(), *before)


def _take_back(tracking: MlflowClient, model: RegisteredModel, version: ModelVersion) -> None:
    """Restores aliases and tags of a registered model and of its version."""
    restore(tracking, model, [CHAMPION, CHALLENGER], [CHAMPIONS_TAG, FROZEN_TAG])
    written = tracking.get_model_version(version.name, version.version).tags
    for tag in written.keys() - version.tags.keys():
        tracking.delete_model_version_tag(version.name, version.version, tag)
    for tag, value in version.tags.items():
        if written.get(tag) != value:
            tracking.set_model_version_tag(version.name, version.version, tag, value)


def champion_to_beat(model: RegisteredModel, version: ModelVersion) -> str | None:
    """Returns the champion that a version is to be compared with: the one before it, if MLflow failed when the version
    had been made champion and before its outcome was written."""
    champion = champion_of(model)
    interrupted = WHY_TAG in version.tags and PROMOTION_TAG not in version.tags
    return champion_before(model, version.version) if interrupted and champion == version.version else champion


def _without_comparison(champion: str | None) -> Decided:
    if champion is None:
        return Decided(decision=Decision(outcome="first", why="the name had no champion"))
    why = "models of this kind are not compared: `promote VERSION` makes it champion by hand"
    return Decided(decision=Decision(outcome="kept", why=why, champion=champion))


def _write(tracking: MlflowClient, registered: Registered, decided: Decided) -> None:
    """Writes a decision to the registry, its outcome last: a version with an outcome is done."""
    name, version, decision = registered.name, registered.version, decided.decision
    for tag, value in _tags(decided).items():
        tracking.set_model_version_tag(name, version, tag, value)
    if decided.frozen is not None:
        tracking.set_registered_model_tag(name, FROZEN_TAG, decided.frozen.model_dump_json())
        note_frozen(name, decided.frozen)
    # An old recipe that is run again does not challenge newer ones.
    if versions_of(tracking, name)[-1].version == tracking.get_model_version(name, version).version:
        tracking.set_registered_model_alias(name, CHALLENGER, version)
    if decision.outcome in ("first", "promoted") and not decided.crowned:
        crown(tracking, name, version, decision.outcome)
    _require_written(tracking, registered, decided)
    tracking.set_model_version_tag(name, version, PROMOTION_TAG, decision.outcome)
    if tracking.get_model_version(name, version).tags.get(PROMOTION_TAG) != decision.outcome:
        raise EmptyAnswerError("and takes what MLflow should have")


def _require_written(tracking: MlflowClient, registered: Registered, decided: Decided) -> None:
    """Raises unless the registry has what was written: once it has the outcome, nobody writes the rest again."""
    model = tracking.get_registered_model(registered.name)
    version = tracking.get_model_version(registered.name, registered.version)
    crowned = decided.decision.outcome in ("first", "promoted") and not decided.crowned
    if (
        not _tags(decided).keys() <= version.tags.keys()
        or (decided.frozen is not None and FROZEN_TAG not in model.tags)
        or (crowned and (champion_of(model) != registered.version or CHAMPIONS_TAG not in model.tags))
    ):
        raise EmptyAnswerError("and takes what MLflow should have")


def _tags(decided: Decided) -> dict[str, str]:
    decision = decided.decision
    tags = {WHY_TAG: decision.why}
    tags |= {f"{PROMOTION_TAG}.{name}": f"{value:.6g}" for name, value in decision.numbers.items()}
    if decision.champion is not None:
        tags[CHAMPION_TAG] = decision.champion
    if decided.frozen is not None and decided.unseen:
        tags[FROZEN_OF_VERSION] = decided.frozen.sha256
    return tags


def _as_it_is(tracking: MlflowClient, registered: Registered) -> Registered:
    version = tracking.get_model_version(registered.name, registered.version)
    return registered.model_copy(
        update={
            "aliases": sorted(version.aliases),
            "promotion": version.tags.get(PROMOTION_TAG),
            "why": version.tags.get(WHY_TAG),
            "champion": version.tags.get(CHAMPION_TAG),
            "compared": _compared(tracking, version),
        }
    )


def _compared(tracking: MlflowClient, version: ModelVersion) -> dict[str, float]:
    """Returns the numbers that `_tags` wrote, and of how many messages they are."""
    prefix, words = f"{PROMOTION_TAG}.", (WHY_TAG, CHAMPION_TAG, FROZEN_OF_VERSION)
    numbers = {
        tag.removeprefix(prefix): float(value)
        for tag, value in version.tags.items()
        if tag.startswith(prefix) and tag not in words
    }
    frozen = frozen_test(tracking, version.name) if numbers else None
    return numbers if frozen is None else {**numbers, "messages": frozen.messages}
