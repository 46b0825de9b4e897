"""What the steps that run a network share: device, training settings, and the files of a training."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from lib.files.jsonfile import save_json
from lib.model.machine.device import device_here
from lib.model.weights.saved import COST
from lib.processes.usage import peak_memory

if TYPE_CHECKING:
    from lib.recipes.sections import Optimisation
    from lib.training.settings import Settings
    from lib.training.train import Trained
    from tasks.engine.step import AnyRecipe, Inputs, Work

# The recipe's name and addresses, for example, the history's seconds and the memory that was taken differ between runs;
# none of them may make a later step run again.
NOTED = ("recipe.json", "history.parquet", COST)


def device_identity(recipe: AnyRecipe, inputs: Inputs) -> dict[str, str]:  # noqa: ARG001 - what an identity is given
    """Returns the device to compute on: other devices round differently.

    The process that computes resolves it, so a planner without a GPU does not choose for a worker with one. The step
    runs on `work.identity["device"]` and keeps `training.device` itself out of the key.
    """
    return {"device": device_here(recipe.training.device)}


def training_settings(section: Optimisation, device: str) -> Settings:
    """Returns a recipe's `training` section as plain values, for this device."""
    from lib.training.settings import Settings

    plain = {each.name: getattr(section, each.name) for each in fields(Settings)}
    return Settings(**{**plain, "device": device})


def save_training(work: Work[Any], trained: Trained, *, max_length: int, **facts: Any) -> None:
    """Writes `history.parquet`, `training.json` with more `facts`, `recipe.json` with the `max_length` found, and
    `cost.json`: seconds of computing, and the most bytes that this process had in memory so far, at its peak."""
    from lib.training.history import history_checksum, write_history

    if trained.resumed_at is not None:
        work.log.warning("went on from a checkpoint after %s batches", trained.resumed_at)
    write_history(trained.history, work.folder / "history.parquet")
    save_cost(work, float(trained.history["seconds"].iloc[-1]))
    encoding = {**work.whole_recipe["encoding"], "max_length": max_length}
    save_json({**work.whole_recipe, "encoding": encoding}, work.folder / "recipe.json")
    told = {
        "kept_row": trained.kept,
        # The curve without its seconds, so that figures are redrawn when it changes.
        "history_sha256": history_checksum(trained.history),
        "parameters": trained.parameters,
        "trainable_parameters": trained.trainable_parameters,
        "published": trained.published,
        **facts,
    }
    save_json(told, work.folder / "training.json")


def save_cost(work: Work[Any], seconds: float) -> None:
    """Writes `cost.json`: so many seconds, and the peak of this process's memory so far in bytes."""
    save_json({"seconds": round(seconds, 3), "peak_memory": peak_memory()}, work.folder / COST)
