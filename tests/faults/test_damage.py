"""Damage to any file of a home: noticed and named, mended, or without effect, and never used."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

import tasks.registry.files
from flows.run.delivery import deliver_others
from flows.run.unfinished import all_noted, begun
from lib.errors import ServiceError
from lib.files.listing import SHA256_TAG, problems
from lib.store.artifacts import MANIFEST, Artifact
from lib.store.folder import FolderStore
from lib.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tasks.record.mlflow_run import AwayError, client
from tasks.record.outbox import Outbox, new_record
from tasks.registry.files import model_files
from tasks.registry.frozen import frozen_test, frozen_texts, load_frozen
from tasks.registry.models import CLASSIFIER, Version
from tests.faults.outcomes import FULL, Outcomes, scale
from tests.support.e2e import Home, copy_of

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SEED = 16
NOBODY = 65534  # a user who owns nothing
VERSION = Version("e2e", "1")
CHECKPOINT = Checkpoint({"step": 5, "losses": [0.5, 0.25]}, {"weight": torch.arange(6.0)})
ALL = 10**6  # tries of a kind of file: every file with every damage


def flip(file: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    put(file, content)


def change(file: Path) -> None:
    """One byte, the last."""
    put(file, file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 0xFF]))


def truncate(file: Path) -> None:
    put(file, file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    put(file, b"")


def make_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def put_back(file: Path) -> None:
    """An older version, with its age: other bytes, as many."""
    put(file, bytes(255 - byte for byte in file.read_bytes()))
    os.utime(file, (10**9, 10**9))


def put(file: Path, content: bytes | bytearray) -> None:
    """Replaces the file, as programs do."""
    part = file.with_name(f"{file.name}.part")
    part.write_bytes(content)
    part.replace(file)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "a bit flipped": flip,
    "a byte changed": change,
    "cut in half": truncate,
    "emptied": empty,
    "deleted": Path.unlink,
    "a folder in its place": make_a_folder,
    "an older version put back": put_back,
}


@dataclass
class Damaged:
    """A home whose files are damaged one by one, and what it was like before."""

    folder: Path
    tracking: MlflowClient
    artifacts: dict[tuple[str, str], Artifact]
    scratch: Path  # with a checkpoint
    model: Path  # the champion's files, as MLflow has them
    fetched: Path  # a copy of them, as if from a server
    texts: list[str] = field(default_factory=list)  # of the frozen test set

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def check_artifact(self, file: Path, before: bytes) -> None:
        """A damaged artifact is not found, and the warning names the file."""
        step, key = file.relative_to(self.store).parts[:2]
        warned: list[str] = []
        found = FolderStore(self.store, warn=warned.append).find(step, key)
        if found is not None:
            assert file.name == MANIFEST, f"{step}: {file.name} was used"
            assert found == self.artifacts[step, key], f"{step}: the manifest was believed"
        else:
            assert len(warned) == 1, f"{step}: {file.name} was not named"
            assert file.name in warned[0], f"{step}: {file.name} was not named, but {warned[0]}"

    def check_model(self, file: Path, before: bytes) -> None:
        """A damaged model is put back from the store, or refused, and the sentence names the file."""
        refused = refusal(lambda: model_files(self.tracking, CLASSIFIER, VERSION))
        if refused is None:
            assert file.read_bytes() == before, f"{file.name} was used"
        else:
            assert file.name in refused, f"{file.name} was not named, but {refused}"

    def check_fetched(self, file: Path, before: bytes) -> None:
        """A damaged copy is fetched again."""
        with as_if_served():
            model_files(self.tracking, CLASSIFIER, VERSION)
        assert file.read_bytes() == before, f"{file.name} was used"

    def check_frozen(self, file: Path, before: bytes) -> None:
        """A damaged frozen test set, or its copy here, is fetched again, or refused."""
        frozen = frozen_test(self.tracking, VERSION.name)
        assert frozen is not None
        loaded: list[str] = []
        refused = refusal(lambda: loaded.extend(load_frozen(self.tracking, frozen, VERSION.name)["text"]))
        if refused is None:
            assert loaded == self.texts, f"{file} was used"
        else:
            assert "cannot be fetched" in refused, refused
            assert file.is_relative_to(self.folder / "mlartifacts"), f"{file} is only a copy"

    def check_note(self, file: Path, before: bytes) -> None:
        """Where MLflow is away, a damaged note of the frozen test set is nothing known; else it is put right."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tasks.registry.frozen.client", away)
            assert frozen_texts(VERSION.name) in (self.texts, []), "it was used"
        assert frozen_texts(VERSION.name) == self.texts
        assert file.read_bytes() == before, "it was not put right"

    def check_record(self, file: Path, before: bytes) -> None:
        """A damaged record is named, ends no other run, and can be forgotten."""
        outbox = Outbox()
        found, wrong = outbox.records()
        assert found == [], "it was used"
        assert not file.exists() or (len(wrong) == 1 and file.name in f"{wrong[0]}"), f"not named, but {wrong}"
        deliver_others(new_record(experiment="e2e", name="another", params={}, tags={}))
        if file.exists():
            outbox.forget(file.stem)
        assert list(outbox.folder.iterdir()) == []

    def check_flow_run(self, file: Path, before: bytes) -> None:
        """A damaged note of a flow run is believed in nothing, and goes."""
        assert list(all_noted()) == [], "it was used"
        assert not file.exists(), "it stays"

    def check_checkpoint(self, file: Path, before: bytes) -> None:
        """A damaged checkpoint is not gone on from, and the warning says so."""
        warned: list[str] = []
        read = read_checkpoint(self.scratch, fingerprint="same", warn=warned.append)
        if read is None:
            assert len(warned) == (1 if any(self.scratch.glob("*.json")) or warned else 0)
        else:
            assert read.state == CHECKPOINT.state, "a changed state was used"
            assert torch.equal(read.tensors["weight"], CHECKPOINT.tensors["weight"]), "changed tensors were used"
        write_checkpoint(self.scratch, CHECKPOINT, number=5, fingerprint="same")  # nothing is in its way


def away() -> MlflowClient:
    """MLflow does not answer."""
    raise AwayError("it is away: start it")


def refusal(use: Callable[[], object]) -> str | None:
    """What is said in one sentence where the use is refused; None if it is not."""
    try:
        use()
    except ServiceError as error:
        return str(error).replace("\n", "⏎")
    return None


@contextmanager
def as_if_served() -> Iterator[None]:
    """A server has the models, rather than this disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks.registry.files, "is_local_uri", lambda place: False)
        yield


@pytest.fixture(scope="module")
def damaged(finished: tuple[Home, Any]) -> Iterator[Damaged]:
    """A copy of the finished home, in a folder that every user may look into."""
    place = Path(tempfile.mkdtemp(prefix="finetune-damage-"))
    place.chmod(0o755)
    home = copy_of(finished[0], place / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUNE_HOME", str(home.folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracking = client()
        store = FolderStore(home.folder / "store")
        found = {(m.step, m.key): store.find(m.step, m.key) for m in store.manifests()}
        scratch = store.scratch("finetune", "0" * 32)
        write_checkpoint(scratch, CHECKPOINT, number=5, fingerprint="same")
        model = model_files(tracking, CLASSIFIER, VERSION).root
        with as_if_served():
            fetched = model_files(tracking, CLASSIFIER, VERSION).root
        made = {key: artifact for key, artifact in found.items() if artifact is not None}
        assert len(made) == len(found)
        damaged = Damaged(home.folder, tracking, made, scratch, model, fetched)
        frozen = frozen_test(tracking, VERSION.name)
        assert frozen is not None
        for path in (home.folder, *home.folder.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
        damaged.texts = load_frozen(tracking, frozen, VERSION.name)["text"].tolist()
        yield damaged
    shutil.rmtree(place)


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def chosen(files: list[Path], tries: int) -> list[tuple[Path, str]]:
    """So many pairs of a file and a damage, or all."""
    pairs = [(file, damage) for file in files for damage in DAMAGE if file.stat().st_size]
    return random.Random(SEED).sample(pairs, min(tries, len(pairs)))


def restore(file: Path, before: bytes) -> None:
    if file.is_dir():
        shutil.rmtree(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(before)


def try_all(outcomes: Outcomes, kind: str, pairs: list[tuple[Path, str]], check: Callable[[Path, bytes], None]) -> None:
    assert pairs
    for file, damage in pairs:
        before = file.read_bytes()
        DAMAGE[damage](file)
        try:
            with outcomes.trying(f"{kind}: {damage}"):
                check(file, before)
        finally:
            restore(file, before)


def test_artifacts_of_the_store(damaged: Damaged, outcomes: Outcomes) -> None:
    outcomes.state("seed of the sample", str(SEED))
    files = [file for artifact in damaged.artifacts.values() for file in files_in(artifact.folder)]
    try_all(outcomes, "artifact", chosen(files, scale(60, ALL)), damaged.check_artifact)


def test_checkpoints(damaged: Damaged, outcomes: Outcomes) -> None:
    try_all(outcomes, "checkpoint", chosen(files_in(damaged.scratch), ALL), damaged.check_checkpoint)


def test_registered_models(damaged: Damaged, outcomes: Outcomes) -> None:
    files = files_in(damaged.model)
    try_all(outcomes, "registered model", chosen(files, scale(40, ALL)), damaged.check_model)


def test_copies_of_registered_models(damaged: Damaged, outcomes: Outcomes) -> None:
    # MLflow's own note of what it fetched, which nothing reads.
    files = [file for file in files_in(damaged.fetched) if file.name != "registered_model_meta"]
    try_all(outcomes, "fetched model", chosen(files, scale(4, 40)), damaged.check_fetched)


def test_frozen_test_sets(damaged: Damaged, outcomes: Outcomes) -> None:
    (copy,) = (damaged.folder / "frozen").glob("*.parquet")
    assert frozen_texts(VERSION.name) == damaged.texts
    (note,) = (damaged.folder / "frozen").glob("*.json")
    try_all(outcomes, "note of a frozen test set", chosen([note], ALL), damaged.check_note)
    try_all(outcomes, "copy of a frozen test set", chosen([copy], ALL), damaged.check_frozen)
    (kept,) = (damaged.folder / "mlartifacts").glob("*/artifacts/frozen/test.parquet")

    def check_without_the_copy(file: Path, before: bytes) -> None:
        copy.unlink()
        damaged.check_frozen(file, before)
        restore(copy, before)

    try_all(outcomes, "frozen test set", chosen([kept], ALL), check_without_the_copy)


def test_records_that_wait(damaged: Damaged, outcomes: Outcomes) -> None:
    record = new_record(experiment="e2e", name="a run", params={}, tags={}).model_copy(update={"status": "FAILED"})
    Outbox().save(record)
    (file,) = (damaged.folder / "outbox").glob("*.json")
    try_all(outcomes, "record that waits", chosen([file], ALL), damaged.check_record)
    file.unlink()


def test_notes_of_flow_runs(damaged: Damaged, outcomes: Outcomes) -> None:
    noted = begun("0" * 32, "http://127.0.0.1:4200/api")
    assert list(all_noted()) == [noted]
    try_all(outcomes, "note of a flow run", chosen([noted.file], ALL), damaged.check_flow_run)
    noted.forget()


def test_files_that_may_not_be_read(damaged: Damaged, outcomes: Outcomes) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become a user who owns nothing")
    seal = damaged.tracking.get_model_version(VERSION.name, VERSION.version).tags[SHA256_TAG]
    artifacts = [file for artifact in damaged.artifacts.values() for file in files_in(artifact.folder)]
    files = artifacts[: scale(10, ALL)]
    models = random.Random(SEED).sample(
        files_in(damaged.model), scale(10, 10**3) if not FULL else len(files_in(damaged.model))
    )
    for file in [*files, *models]:
        mode = file.stat().st_mode
        file.chmod(0)
        os.seteuid(NOBODY)
        try:
            if file in models:
                with outcomes.trying("registered model: permission taken"):
                    wrong = problems(damaged.model, seal)
                    assert list(wrong) == [file.relative_to(damaged.model).as_posix()]
            else:
                with outcomes.trying("artifact: permission taken"):
                    damaged.check_artifact(file, b"")
        finally:
            os.seteuid(0)
            file.chmod(mode)


@pytest.mark.parametrize("damage", ["emptied", "deleted", "a folder in its place", "cut in half", "a byte changed"])
def test_mlflows_database(damaged: Damaged, tmp_path: Path, outcomes: Outcomes, damage: str) -> None:
    """SQLite has no checksums: a bit flipped in it is not promised to be noticed."""
    shutil.copytree(damaged.folder / "mlartifacts", tmp_path / "mlartifacts")
    file = tmp_path / "mlflow.db"
    shutil.copy(damaged.folder / "mlflow.db", file)
    if damage == "a byte changed":
        put(file, b"x" + file.read_bytes()[1:])
    else:
        DAMAGE[damage](file)
    with pytest.MonkeyPatch.context() as patch, outcomes.trying(f"MLflow's database: {damage}"):
        patch.setenv("FINETUNE_HOME", str(tmp_path))
        patch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)  # which MLflow has set to the other home
        experiments: list[str] = []
        refused = refusal(lambda: experiments.extend(each.name for each in client().search_experiments()))
        if refused is None:
            assert (damage, experiments) == ("deleted", ["Default"]), "it was used"
        else:
            assert "mlflow.db" in refused, refused


@pytest.mark.skipif(not FULL, reason="a whole run: at full scale only")
def test_a_store_of_which_every_artifact_is_damaged_is_made_again_with_the_same_bytes(
    finished: tuple[Home, Any], tmp_path: Path, outcomes: Outcomes
) -> None:
    home = copy_of(finished[0], tmp_path / "home")
    chance = random.Random(SEED)
    for file in (chance.choice(files_in(folder)) for folder in sorted((home.folder / "store").glob("[!.]*/*"))):
        DAMAGE[chance.choice(list(DAMAGE))](file)
    again = home.run()
    with outcomes.trying("a file of every artifact, then the same run"):
        wanted = {step["step"]: step["artifact"]["digest"] for step in finished[1]["steps"] if step["artifact"]}
        assert {step["step"]: step["artifact"]["digest"] for step in again["steps"] if step["artifact"]} == wanted
