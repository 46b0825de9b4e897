"""Writes README.md of a model's repository on a hub: what the hub reads, and the model card."""

from __future__ import annotations

import json
from pathlib import Path

from lib.data.source.hub import Repository
from lib.errors import FinetuneError
from lib.model.places import OPENAI, SCRATCH, find_weights
from lib.model.usage import LABELS, calibrated_here_alone, load_usage
from lib.model.weights.folder import CONFIG, existing, read_fields
from lib.model.weights.saved import INFERENCE, OWN_TYPE

RECIPE = "recipe.json"
USE = "\n## Use"  # the card's section for those who have the registry


def hub_card(folder: Path, repository: str, described: str | None) -> str:
    """Returns the text. described: the registered version's card (None: a model that is not registered).

    Raises `WeightsError` if config.json is missing or damaged.
    """
    config = read_fields(existing(folder, CONFIG))
    standard = config.get("model_type") != OWN_TYPE
    classifies = not standard or any("ForSequenceClassification" in each for each in config.get("architectures") or ())
    task = "text-classification" if classifies else "text-generation"
    weights = _weights(folder)
    base = weights if weights is not None and _is_repository(weights) else None
    front = ["library_name: transformers"] if standard else []
    front += [f"pipeline_tag: {task}", *([f"base_model: {json.dumps(base)}"] if base else [])]
    body = (described or "Made by finetune-flows.\n").partition(USE)[0].strip()
    if weights is not None and base is None and weights != SCRATCH and not weights.startswith(OPENAI):
        body = body.replace(weights, "a local folder")
    use = _use(repository, task, standard)
    return "\n".join(["---", *front, "---", "", f"# {repository}", "", body, "", *use, *_limits(folder)])


def _use(repository: str, task: str, standard: bool) -> list[str]:
    if not standard:
        return ["## Use", "", "No class of transformers computes this network; finetune-flows loads its folder.", ""]
    lines = [
        "from transformers import pipeline",
        "",
        f'model = pipeline("{task}", model="{repository}")',
        'model("a text")',
    ]
    return ["## Use", "", "```python", *lines, "```", ""]


def _limits(folder: Path) -> list[str]:
    """Returns what a pipeline does otherwise."""
    if not all((folder / name).is_file() for name in (LABELS, INFERENCE)):
        return []  # it follows instructions, or was exported
    usage = load_usage(folder)
    found = (usage.long_texts.lost_elsewhere(usage.max_length), calibrated_here_alone(folder))
    return [line for each in found if each for line in (f"{each[0].upper()}{each[1:]}.", "")]


def _weights(folder: Path) -> str | None:
    """Returns the `model.weights` that the model began with, from its recipe; None if that is not there."""
    if not (folder / RECIPE).is_file():
        return None
    model = read_fields(folder / RECIPE).get("model")
    weights = model.get("weights") if isinstance(model, dict) else None
    return weights if isinstance(weights, str) else None


def _is_repository(weights: str) -> bool:
    try:
        return isinstance(find_weights(weights), Repository)
    except FinetuneError:  # a folder that is no longer there
        return False
