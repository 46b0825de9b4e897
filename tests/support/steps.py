"""A classifier's steps without Prefect around them, on texts whose words say their label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.recipes.classify import ClassifyRecipe
from lib.store.artifacts import Artifact, key_of
from lib.store.folder import FolderStore
from lib.store.store import Store
from tasks.engine.step import Step
from tasks.steps.backbone import backbone
from tasks.steps.classify.balance import balance
from tasks.steps.classify.features import features
from tasks.steps.classify.finetune import finetune
from tasks.steps.classify.holdout import holdout
from tasks.steps.classify.messages import messages
from tasks.steps.classify.split import split
from tasks.steps.classify.tokenize import tokenize
from tasks.steps.download import download
from tasks.steps.tokenizer import tokenizer
from tests.support.procedure import perform
from tests.support.recipes import build_recipe

STEPS = (download, messages, balance, split, holdout, tokenizer, tokenize, backbone, features, finetune)
WORDS = {"ham": "lunch home later coming okay", "other": "joking weekly competition", "spam": "win free prize call now"}
TEXTS = ["free prize", "home for lunch", "weekly competition", "okay, call now"]


def write_data(folder: Path, labels: dict[str, str]) -> Path:
    """Writes texts of words that their label chooses."""
    random = np.random.default_rng(1)
    rows = ["label,text"]
    for number in range(120):
        label = list(WORDS)[number % 3]
        words = random.choice(WORDS[label].split(), 4)
        rows.append(f"{labels.get(label, label)},{' '.join(words)} {random.integers(10**6)}")
    file = folder / f"{'-'.join(labels)}data.csv"
    file.write_text("\n".join(rows) + "\n")
    return file


def finetuned(store: FolderStore, data: Path, weights: str | Path, **sections: dict[str, Any]) -> Artifact:
    """Runs the flow's steps up to the training; returns the classifier."""
    return steps_until_trained(store, data, weights, **sections)[1]["finetune"]


def steps_until_trained(
    store: FolderStore, data: Path, weights: str | Path, **sections: dict[str, Any]
) -> tuple[ClassifyRecipe, dict[str, Artifact]]:
    """Runs the flow's steps up to the training, where the store has none of their artifacts yet; returns the recipe,
    and the artifacts by step."""
    recipe = recipe_for(data, weights, **sections)
    return recipe, performed(store, recipe, STEPS, reuse=True)


def recipe_for(data: Path, weights: str | Path, **sections: dict[str, Any]) -> ClassifyRecipe:
    """A recipe for texts of a CSV file, with the sections as they are given."""
    fields: dict[str, dict[str, Any]] = {
        "data": {"source": "file", "url": str(data), "format": "csv", "text_column": "text", "label_column": "label"},
        "model": {"weights": str(weights), "size": "tiny" if weights == "scratch" else "from-weights"},
        "classifier": {"trainable": "last_block"},
        "training": {"epochs": 6, "learning_rate": 5e-3, "device": "cpu"},
    }
    for name, section in sections.items():
        fields[name] = {**fields.get(name, {}), **section}
    return build_recipe(fields)


def performed(
    store: Store, recipe: ClassifyRecipe, steps: Sequence[Step], *, reuse: bool = False
) -> dict[str, Artifact]:
    """Runs steps one after another, with `reuse` those alone whose artifacts are not in the store; returns their
    artifacts by name."""
    made: dict[str, Artifact] = {}
    for step in steps:
        inputs = {name: made[name] for name in step.inputs}
        there = store.find(step.name, key_of(step.ingredients(recipe, inputs))) if reuse else None
        made[step.name] = there or perform(store, recipe, step, **inputs)
    return made
