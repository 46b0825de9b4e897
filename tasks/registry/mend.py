"""Puts damaged files of a registered model back from where the same bytes are: the store, and the program itself."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from lib.errors import StoreError
from lib.files.checksum import file_sha256
from lib.files.disk import disk_full_is_clear, into_place, remove
from lib.files.listing import LISTING, read_listing
from lib.store.fingerprint import PROJECT
from tasks.environment import home
from tasks.record.mlflow_run import ARTIFACT_TAG
from tasks.store import artifact_store

CODE = "code/"  # the folder with the copy of `lib`, in a logged model


def mend(tracking: MlflowClient, registered: ModelVersion, root: Path, wrong: Collection[str]) -> list[str]:
    """Puts back those of the `wrong` files in a version's folder `root` whose bytes are found elsewhere; returns their
    names. Files are replaced one by one, each whole. Raises OSError if one cannot be written."""
    if LISTING in wrong:
        return []  # nobody can tell what the files were
    files = read_listing(root)["files"]
    wanted = {name: str(files[name]["sha256"]) for name in wrong if name in files}
    kept = _kept(tracking, registered, set(wanted.values()))
    with FileLock(home() / ".mend.lock"):
        return [name for name, sha256 in wanted.items() if _put_back(name, sha256, root, kept)]


def _kept(tracking: MlflowClient, registered: ModelVersion, wanted: Collection[str]) -> dict[str, Path]:
    """Returns where the store has files with the wanted checksums, among the artifacts of the version's run."""
    store = artifact_store()
    tags: Mapping[str, str] = tracking.get_run(registered.run_id).data.tags if registered.run_id else {}
    found = {}
    for step in (tag.removeprefix(ARTIFACT_TAG) for tag in tags if tag.startswith(ARTIFACT_TAG)):
        for manifest in store.manifests(step):
            if manifest.digest == tags[f"{ARTIFACT_TAG}{step}"]:
                artifact = store.bound(manifest.artifact)
                for file in (file for file in manifest.files if file.sha256 in wanted):
                    with suppress(StoreError):
                        found[file.sha256] = artifact.file(file.name)
    return found


def _put_back(name: str, sha256: str, root: Path, kept: Mapping[str, Path]) -> bool:
    source = kept.get(sha256) or (PROJECT / name.removeprefix(CODE) if name.startswith(CODE) else None)
    if source is None:
        return False
    target = root / name
    part = root / ".mending"  # where files that are not listed do no harm
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError), disk_full_is_clear(target.parent):
            shutil.copyfile(source, part)
            if file_sha256(part) == sha256:
                if target.is_dir():
                    remove(target)
                into_place(part, target)
                return True
        return False
    finally:
        part.unlink(missing_ok=True)
