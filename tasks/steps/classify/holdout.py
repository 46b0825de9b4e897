"""Keeps the registered name's frozen test set out of training and validation."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from lib.data.messages.holdout import LEARNED_FROM, exclusion_digest, hold_out, ids_to_hold_out
from lib.data.parts import Parts
from lib.data.tables import KEYED_SPLIT, SPLITS
from lib.errors import ServiceError
from lib.files.disk import copy_folder
from lib.files.jsonfile import load_json, save_json
from tasks.engine.step import Work, step
from tasks.engine.tables import asking
from tasks.registry.frozen import frozen_texts

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact
    from tasks.engine.step import Inputs

REPORT = "split.json"


def _held_out(recipe: ClassifyRecipe, split: Artifact) -> list[int]:
    """Returns the ids of the messages that this run must not learn from."""
    frozen = frozen_texts(recipe.registry.name)
    if not frozen:
        return []
    return ids_to_hold_out({name: Parts(split.file(name), KEYED_SPLIT) for name in LEARNED_FROM}, frozen)


def _identity(recipe: ClassifyRecipe, inputs: Inputs) -> dict[str, str]:
    """Identifies the removed messages, not the frozen test set: rerunning the run that froze its own test split removes
    nothing, so all its artifacts are reused."""
    if "split" not in inputs:
        return {}  # when explaining, before the inputs exist
    return {"held_out": exclusion_digest(_held_out(recipe, inputs["split"]))}


@step("holdout", unkeyed=["registry.name"], identity=_identity)
def holdout(work: Work[ClassifyRecipe], split: Artifact) -> None:
    """Removes the frozen test set's messages from train and validation; with none the files stay identical."""
    name = work.recipe.registry.name
    ids = _held_out(work.recipe, split)
    if exclusion_digest(ids) != work.identity["held_out"]:
        raise ServiceError(f"the frozen test set of {name!r} changed after this run began: run again")
    if not ids:
        for part in SPLITS:
            copy_folder(split.file(part), work.folder / part)
        shutil.copyfile(split.file(REPORT), work.folder / REPORT)
        return
    tables = {part: Parts(split.file(part), KEYED_SPLIT) for part in SPLITS}
    with asking(work) as queries:
        report = hold_out(tables, work.folder, queries, load_json(split.file(REPORT)), ids, name=name)
    save_json(report, work.folder / REPORT)
    rows = report["held_out"]
    work.warn(
        f"left out {rows['train']:,} of train's and {rows['validation']:,} of validation's messages: they are in the"
        f" frozen test set of {name!r}, on which the versions of that name are compared"
    )
