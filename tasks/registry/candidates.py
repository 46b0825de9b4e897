"""Describes what each flow registers: files, name, and what makes two models different."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import LoggedModel

from lib.evaluation.classify.findings import Findings
from lib.evaluation.classify.model_card import short
from lib.files.jsonfile import load_json
from lib.inference.engines.saved import ENGINE, TABLE, default_engine, saved_engine
from lib.markdown import plain
from lib.model.labels import MOST_PROBABLE
from lib.model.weights.saved import COST, INFERENCE
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.instruct import InstructRecipe
from lib.store.artifacts import MANIFEST, Artifact, key_of
from tasks.registry.models import CHALLENGER, CHAMPION, CLASSIFIER, INSTRUCTIONS
from tasks.registry.register import Candidate

NAMED_LABELS = 10  # labels named in a registered model's description
EVALUATION_FILES = ("drift_profile.json",)  # of the classifier's evaluation, for drift
REWRITTEN = (INFERENCE, "recipe.json", COST, MANIFEST)  # of a trained artifact: not copied as they are
ALIASES = f"The alias {CHAMPION} is the version to use, {CHALLENGER} the latest candidate."


def classifier_candidate(recipe: ClassifyRecipe, made: Mapping[str, Artifact]) -> Candidate:
    """Returns a run's classifier. `made`: the run's artifacts by step."""
    finetuned = made["finetune"]
    resolved = _resolved(recipe.model_dump(mode="json"), finetuned)
    labels, positive = load_json(finetuned.file("labels.json")), resolved["evaluation"]["positive_label"]
    engine = saved_engine(made["engine"].folder)
    decision = Findings.load(made["evaluate"].folder).decision
    return Candidate(
        name=recipe.registry.name,
        kind=CLASSIFIER,
        artifact=finetuned,
        files=_files(finetuned),
        recipe=resolved,
        inference={**load_json(finetuned.file(INFERENCE)), "positive_label": positive, **decision.as_fields()},
        # At the default threshold the positive label changes no prediction, and without its file torch is the engine.
        identity=key_of(
            {
                "digest": finetuned.digest,
                **(
                    {}
                    if decision.threshold == MOST_PROBABLE
                    else {"positive_label": positive, "threshold": decision.threshold}
                ),
                **({} if decision.scaling is None else {"temperature": decision.temperature}),
                **({} if engine == default_engine(finetuned.folder) else {"engine": made["engine"].digest}),
            }
        ),
        about=f"Classifies texts as {labels_in_words(labels)}. {ALIASES}",
        log=_log_classifier,
        beside=(
            *(made["evaluate"].file(name) for name in EVALUATION_FILES),
            *(made["engine"].file(name) for name in (ENGINE, TABLE, *(engine.graph.sha256 if engine.graph else ()))),
        ),
    )


def instructions_candidate(recipe: InstructRecipe, made: Mapping[str, Artifact]) -> Candidate:
    """Returns a run's GPT that follows instructions; the arguments are those of `classifier_candidate`.

    Its generation settings are part of it: the same weights with another temperature are another version.
    """
    finetuned = made["finetune_instructions"]
    resolved = _resolved(recipe.model_dump(mode="json"), finetuned)
    respond = {"respond": resolved["respond"]}
    return Candidate(
        name=recipe.registry.name,
        kind=INSTRUCTIONS,
        artifact=finetuned,
        files=_files(finetuned),
        recipe=resolved,
        inference={**load_json(finetuned.file(INFERENCE)), **respond},
        identity=key_of({"digest": finetuned.digest, **respond}),
        about=f"Follows instructions: takes an instruction with an optional input, returns the response. {ALIASES}",
        log=_log_follower,
    )


def _files(finetuned: Artifact) -> tuple[str, ...]:
    """Returns the files of a trained model that are served as they are: weights, tokenizer, curve."""
    files = (file.relative_to(finetuned.folder) for file in finetuned.folder.rglob("*") if file.is_file())
    return tuple(sorted(f"{file}" for file in files if file.name not in REWRITTEN))


def _resolved(recipe: Mapping[str, Any], finetuned: Artifact) -> dict[str, Any]:
    """Returns the recipe with the length found while tokenizing."""
    found = load_json(finetuned.file("recipe.json"))["encoding"]["max_length"]
    return {**recipe, "encoding": {**recipe["encoding"], "max_length": found}}


def labels_in_words(labels: Sequence[str]) -> str:
    """Lists labels for a page in Markdown: on one line, and not too many nor too long."""
    labels = [plain(short(label)) for label in labels]
    named = [*labels[:NAMED_LABELS], f"{len(labels) - NAMED_LABELS} more"] if len(labels) > NAMED_LABELS else labels
    return f"{', '.join(named[:-1])} or {named[-1]}"


def _log_classifier(folder: Path, *, run_id: str, tracking_uri: str, tags: Mapping[str, str]) -> LoggedModel:
    from lib.serving.classifier import log_classifier  # here, because a cached run logs nothing

    return log_classifier(folder, run_id=run_id, tracking_uri=tracking_uri, tags=tags)


def _log_follower(folder: Path, *, run_id: str, tracking_uri: str, tags: Mapping[str, str]) -> LoggedModel:
    from lib.serving.follower import log_follower

    return log_follower(folder, run_id=run_id, tracking_uri=tracking_uri, tags=tags)
