"""Says which run a report is about: what it read, when it computed, with which programs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import TYPE_CHECKING

from lib.evaluation.classify.report.facts import Identity, SourceFile
from lib.files.jsonfile import load_json
from lib.store.artifacts import Manifest
from tasks.record.pages import git_commit
from tasks.store import artifact_store

if TYPE_CHECKING:
    from lib.store.artifacts import Artifact
    from tasks.report.conclusion import Finished

# Steps whose time is told, and what they did.
DATED = {"download": "data read", "finetune": "trained", "evaluate": "evaluated"}
PROGRAMS = ("finetune-flows", "python", "torch", "transformers", "onnxruntime", "scikit-learn")


def identity_of(finished: Finished) -> Identity:
    """Returns the identity of a classifier's run."""
    registered, name = finished.registered, finished.recipe.registry.name
    return Identity(
        title=f"{name}, not registered yet" if registered is None else f"{name} version {registered.version}",
        facts=list(_facts(finished)),
        files=_files(finished.made["download"]),
    )


def _facts(finished: Finished) -> Iterator[tuple[str, str]]:
    yield "run", finished.name
    yield "run in MLflow", finished.run
    yield "run in Prefect", finished.flow_run
    yield "recipe", finished.recipe.name
    yield "rows", _rows(finished.made["messages"])
    manifests = {step: _manifest(finished.made[step]) for step in DATED}
    for step, told in DATED.items():
        yield told, _when(manifests[step], step in finished.computed)
    if not finished.computed:
        yield "this run", "found all of it and computed nothing new"
    yield "programs", _programs(manifests["finetune"], finished.made["finetune"])
    for commit in git_commit().values():
        yield "commit", commit


def _rows(messages: Artifact) -> str:
    profile = load_json(messages.file("profile.json"))
    used, left = profile["rows"], sum(profile["left_out"].values())
    return f"{used + left:,} read, {used:,} used, {left:,} left out"


def _when(manifest: Manifest, computed: bool) -> str:
    """Returns when an artifact was made, and whether that was in this run."""
    when = f"{manifest.created.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return f"{when}, in {manifest.seconds:,.1f} s" if computed else f"{when}, by an earlier run"


def _programs(manifest: Manifest, finetuned: Artifact) -> str:
    """Returns what trained the classifier, transformers only where it did."""
    network = load_json(finetuned.file("training.json"))["network"]["network"]
    unused = set() if network == "transformers" else {"transformers"}
    return ", ".join(
        f"{name} {manifest.versions[name]}" for name in PROGRAMS if name in manifest.versions and name not in unused
    )


def _files(download: Artifact) -> list[SourceFile]:
    """Returns the files of the data by their names, without their places."""
    told = load_json(download.file("source.json"))
    several = told.values() if all(isinstance(each, dict) for each in told.values()) else [told]
    return [SourceFile(each["name"], each["size"], each["sha256"]) for each in several]


def _manifest(artifact: Artifact) -> Manifest:
    return artifact_store().manifest(artifact.step, artifact.key)
