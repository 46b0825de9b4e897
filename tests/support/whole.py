"""What a home comes to, byte for byte, and what a killed run has left in it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from lib.files.checksum import file_sha256
from lib.files.listing import COMPILED, LISTING
from lib.files.lock import tried
from lib.inference.engines.saved import TABLE

# Of a registered model: what says when, by which run, where and how fast it was made; and the list with its checksums.
NOTED = ("MLmodel", "history.parquet", TABLE, LISTING)
PENDING = 1  # MLflow's number for the status of a logged model
PROMOTION = "finetune.promotion"  # tag of a version that was decided about
OUTPUT = "scored"  # in the home: where these tests have files scored into


@dataclass(frozen=True)
class Whole:
    """What a run comes to. Digests by step; by version of a registered name, the checksums of its files; the checksums
    of scored files."""

    digests: dict[str, str] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    scored: dict[str, str] = field(default_factory=dict)

    def differences(self, other: Whole) -> list[str]:
        """What differs in `other`, by name."""
        return [
            f"{what} {name}"
            for what, mine, theirs in (
                ("digest of", self.digests, other.digests),
                ("version", self.versions, other.versions),
                ("scored file", self.scored, other.scored),
            )
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]


def whole(home: Path, result: Any) -> Whole:
    """What the run that printed `result` came to, and all versions of the home's registry."""
    steps = [step for step in result.get("steps", []) if step["artifact"]]
    logged = {f"{name} {version}": _logged(source) for name, version, source in _rows(home, VERSIONS)}
    return Whole(
        {step["step"]: step["artifact"]["digest"] for step in steps},
        {version: _checksums(home / "mlartifacts" / "models" / model) for version, model in logged.items()},
        _checksums(home / OUTPUT),
    )


# Of a run that was asked to stop, what it had registered was taken back, which MLflow notes; the number is not given
# again, so versions are compared by their place among those of their name.
VERSIONS = (
    "select name, row_number() over (partition by name order by version), source from model_versions"
    " where current_stage <> 'Deleted_Internal'"
)


def _logged(source: str) -> str:
    """The id of the logged model behind a version."""
    return source.removeprefix("models:/")


def _checksums(folder: Path) -> dict[str, str]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and COMPILED not in path.parts)
    files = (path for path in found if path.name not in (*NOTED, ".lock"))
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


def _rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    """What the home's MLflow has; nothing where there is none yet."""
    file = home / "mlflow.db"
    if not file.exists():
        return []
    with closing(sqlite3.connect(file, timeout=30)) as database:
        return database.execute(query).fetchall()


def left_over(home: Path, temporary: Path) -> list[str]:
    """A phrase for everything of a killed run that is still there after the next one. temporary: where both made their
    temporary folders."""
    return [*_in_mlflow(home), *_in_files(home), *(f"{path} in the temporary folder" for path in temporary.iterdir())]


def open_runs(home: Path) -> list[str]:
    """A phrase for each of MLflow's runs that has not ended."""
    found = _rows(home, "select run_uuid, status from runs where status in ('RUNNING', 'SCHEDULED')")
    return [f"run {run} is {status}" for run, status in found]


def _in_mlflow(home: Path) -> Iterator[str]:
    yield from open_runs(home)
    decided = (
        f"select 1 from model_version_tags t where t.key = '{PROMOTION}' and t.name = v.name and t.version = v.version"
    )
    there = "v.current_stage <> 'Deleted_Internal'"
    for name, version in _rows(
        home, f"select name, version from model_versions v where {there} and not exists ({decided})"
    ):
        yield f"nobody decided about {name} {version}"
    used = {_logged(source) for _, _, source in _rows(home, VERSIONS)}
    active = _rows(home, "select model_id, status from logged_models where lifecycle_stage = 'active'")
    for model, status in active:
        if model not in used:
            yield f"the logged model {model} is of no version" + (" and PENDING" if status == PENDING else "")
    for folder in (home / "mlartifacts" / "models").glob("*"):
        if folder.name not in used and any(path.is_file() for path in folder.rglob("*")):
            yield f"the files of the logged model {folder.name} are of no version"


def _in_files(home: Path) -> Iterator[str]:
    store = home / "store"
    for folder in (*store.glob("[!.]*/.*"), *store.glob(".scratch/*/*")):
        yield f"{folder.relative_to(home)} is unfinished"
    for path in (home / "tmp").glob("[!.]*"):
        yield f"{path.relative_to(home)} is nobody's"
    for part in home.rglob("*.part"):
        yield f"{part.relative_to(home)} is half written"
    for record in (home / "outbox").glob("*"):
        yield f"{record.relative_to(home)} waits"
    for file in (*store.glob(".locks/*"), *home.rglob("*.lock")):
        with tried(FileLock(file)) as free:
            if not free:
                yield f"{file.relative_to(home)} is held"


def processes_of(home: Path) -> list[int]:
    """The processes that were started with this home, other than forks of this one's."""
    mine, found = f"FINETUNE_HOME={home}\0".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mine in (folder / "environ").read_bytes() and int(folder.name) != os.getpid() and not _over(folder.name):
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue  # it has ended
    return found


def _over(pid: str) -> bool:
    """Whether it has ended, also if its parent has not taken note yet."""
    try:
        return psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
