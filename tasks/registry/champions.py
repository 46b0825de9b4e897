"""Present and former champions of a registered name, and changing the champion by hand.

MLflow's alias names the present champion; a tag of the registered model records all of them, so it follows a shared
server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities.model_registry import RegisteredModel
from pydantic import BaseModel

from lib.errors import ServiceError, listed
from tasks.record.mlflow_run import client
from tasks.registry.models import CHAMPION, Kind, all_registered, kind_of, nearest_first
from tasks.registry.register import publishing, versions_of

CHAMPIONS_TAG = "finetune.champions"  # of a registered model: a JSON list of Reign, oldest first
TAG_LENGTH = 5000  # characters of a registered model's tag that MLflow's tables hold
ROLLBACK = "rollback"
BY_HAND = "by hand"
UNRECORDED = "set elsewhere"


class Reign(BaseModel):
    """A version that became champion."""

    version: str
    since: str | None  # UTC; None: unknown, it was made champion elsewhere
    why: str


class Change(BaseModel):
    """The result of a change by hand."""

    name: str
    before: str | None  # the version that was champion
    champion: str


def champion_of(model: RegisteredModel) -> str | None:
    """Returns the present champion's version."""
    version = model.aliases.get(CHAMPION)
    return None if version is None else str(version)


def record_of(model: RegisteredModel) -> list[Reign]:
    """Returns who became champion when, oldest first, ending with the present one, even if set in MLflow's pages."""
    record = _noted(model)
    champion = champion_of(model)
    if champion is not None and (not record or record[-1].version != champion):
        record.append(Reign(version=champion, since=None, why=UNRECORDED))
    return record


def _noted(model: RegisteredModel) -> list[Reign]:
    return [Reign.model_validate(entry) for entry in json.loads(model.tags.get(CHAMPIONS_TAG, "[]"))]


def champion_before(model: RegisteredModel, version: str) -> str | None:
    """Returns the champion that a version found when it was crowned, which was interrupted."""
    noted = _noted(model)
    earlier = noted[:-1] if noted and noted[-1].version == version else noted
    return earlier[-1].version if earlier else None


def crown(tracking: MlflowClient, name: str, version: str, why: str) -> None:
    """Makes a version the champion and records it; called again after a failure halfway, it does what is left."""
    model = tracking.get_registered_model(name)
    noted = _noted(model)
    if noted and noted[-1].version == version and champion_of(model) == version:
        return
    record = noted if champion_of(model) == version else record_of(model)
    record.append(Reign(version=version, since=datetime.now(UTC).isoformat(timespec="seconds"), why=why))
    tracking.set_registered_model_alias(name, CHAMPION, version)
    tracking.set_registered_model_tag(name, CHAMPIONS_TAG, as_tag(record))


def restore(tracking: MlflowClient, before: RegisteredModel, aliases: Sequence[str], tags: Sequence[str]) -> None:
    """Restores these aliases and tags of a registered model to their values in `before`."""
    for alias in aliases:
        if alias in before.aliases:
            tracking.set_registered_model_alias(before.name, alias, before.aliases[alias])
        else:
            tracking.delete_registered_model_alias(before.name, alias)
    for tag in tags:
        if tag in before.tags:
            tracking.set_registered_model_tag(before.name, tag, before.tags[tag])
        else:
            tracking.delete_registered_model_tag(before.name, tag)


def promote_by_hand(version: str, *, kind: Kind, name: str | None = None) -> Change:
    """Makes a version the champion, whatever was decided about it. `name`: None means the only model of the kind.
    Raises ServiceError if there is no such name or version."""

    def chosen(tracking: MlflowClient, model: RegisteredModel) -> str:
        there = [str(found.version) for found in versions_of(tracking, model.name)]
        if version not in there:
            raise ServiceError(f"{model.name!r} has no version {version}: there is {', '.join(there) or 'none yet'}")
        return version

    return _change(kind, name, chosen, BY_HAND)


def rollback(*, kind: Kind, name: str | None = None) -> Change:
    """Makes the previous champion champion again; called again, the one before that. Skips deleted versions. Raises
    ServiceError if there is nothing to go back to."""

    def chosen(tracking: MlflowClient, model: RegisteredModel) -> str:
        there = {str(found.version) for found in versions_of(tracking, model.name)}
        champion = champion_of(model)
        line = line_of(record_of(model))
        earlier = [version for version in line if version in there and version != champion]
        if not earlier:
            present = f"version {champion} is its first champion" if champion else "it never had a champion"
            raise ServiceError(
                f"{model.name!r} has nothing to roll back to: {present}, or the others were deleted (`promote VERSION`"
                " makes any version champion)"
            )
        return earlier[-1]

    return _change(kind, name, chosen, ROLLBACK)


def line_of(record: Sequence[Reign]) -> list[str]:
    """Returns the champions that rollbacks go back to, oldest first, ending with the present one. A champion that was
    rolled back is left out, so that two rollbacks go back two champions."""
    line: list[str] = []
    for reign in record:
        if reign.why == ROLLBACK and reign.version in line:
            while line[-1] != reign.version:
                line.pop()
        elif not line or line[-1] != reign.version:
            line.append(reign.version)
    return line


def _change(kind: Kind, name: str | None, chosen: Callable[[MlflowClient, RegisteredModel], str], why: str) -> Change:
    tracking = client()
    name = _model(tracking, name, kind).name
    with publishing(name):
        before = tracking.get_registered_model(name)  # read again under the lock
        version = chosen(tracking, before)
        change = Change(name=name, before=champion_of(before), champion=version)
        if change.before != version:
            try:
                crown(tracking, name, version, why)
            except BaseException:
                restore(tracking, before, [CHAMPION], [CHAMPIONS_TAG])
                raise
    return change


def _model(tracking: MlflowClient, name: str | None, kind: Kind) -> RegisteredModel:
    """Returns the registered model of this name, or the kind's only one; ServiceError if that is ambiguous."""
    found = [model for model in all_registered(tracking) if _is_a(tracking, model, kind)]
    for model in found:
        if name == model.name or (name is None and len(found) == 1):
            return model
    if not found:
        raise ServiceError(f"MLflow's registry has no {kind.noun}: fine-tune one first")
    wrong = f"there is no {kind.noun} {name!r}" if name is not None else f"there is more than one {kind.noun}"
    there = listed(nearest_first(name or "", [model.name for model in found]))
    raise ServiceError(f"{wrong}: say which with --name, there is {there}")


def _is_a(tracking: MlflowClient, model: RegisteredModel, kind: Kind) -> bool:
    """Whether the model's versions are of this kind; without versions it is of none."""
    versions = versions_of(tracking, model.name)
    return bool(versions) and kind_of(tracking, model, str(versions[-1].version)) == kind


def as_tag(record: Sequence[Reign]) -> str:
    """Returns the newest entries of the record that fit into a tag."""
    entries = [reign.model_dump() for reign in record]
    while len(text := json.dumps(entries)) > TAG_LENGTH:
        entries = entries[1:]
    return text
