"""What a step may read, what its key is made of, and the locks that keep two runs from doing the same."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.use_cases.classify import CLASSIFY
from flows.use_cases.instruct import INSTRUCT
from lib.data.tables import SPLITS
from lib.errors import StoreError
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.fields import recipe_fields, section_names
from lib.recipes.instruct import InstructRecipe
from lib.recipes.reading import build_recipe as build
from lib.store.artifacts import Artifact, key_of
from lib.store.folder import FolderStore
from lib.store.warnings import WARNINGS, add_warning, warnings_of
from tasks.engine.prefect_cache import ArtifactPolicy, ArtifactRecords, StoreLocks
from tasks.engine.step import AnyRecipe, DeclaredFields, Run, Step, UndeclaredFieldError, Work, step
from tests.support.recipes import build_recipe

PROJECT = Path(__file__).resolve().parents[3]
RECIPE = build_recipe({"data": {"source": "sample"}})
KEY = "split/0123456789abcdef"
GPT_CONFIG = {"vocab_size": 50257, "n_positions": 64, "n_embd": 8, "n_layer": 1, "n_head": 1}


USE_CASES = {use_case.name: use_case for use_case in (CLASSIFY, INSTRUCT)}
RECIPES: dict[str, Any] = {"classify": ClassifyRecipe, "instruct": InstructRecipe}
# Every step of every use case; a step that both have is tried with both recipes.
STEPS = {
    f"{use_case.name}/{made.name}": (use_case.name, made)
    for use_case in USE_CASES.values()
    for made in use_case.all_steps
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `$FINETUNE_HOME` of its own for every test."""
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


# -- declared fields --------------------------------------------------------------------------------------------


def seen_by_split() -> Any:
    return DeclaredFields(RECIPE, ["split.seed", "classifier"], "split")


def test_a_declared_field_can_be_read() -> None:
    assert seen_by_split().split.seed == 123


def test_a_section_that_was_declared_as_a_whole_can_be_read() -> None:
    assert seen_by_split().classifier == RECIPE.classifier
    assert seen_by_split().classifier.pooling == "auto"


@pytest.mark.parametrize(
    ("read", "path"),
    [
        (lambda recipe: recipe.split.train, "split.train"),
        (lambda recipe: recipe.training.epochs, "training"),
        (lambda recipe: recipe.training, "training"),
        (lambda recipe: recipe.name, "name"),
    ],
)
def test_an_undeclared_field_is_refused(read: Callable[[Any], Any], path: str) -> None:
    with pytest.raises(UndeclaredFieldError, match=rf"^step split reads {path}: add it to the step's `reads`"):
        read(seen_by_split())


def test_a_section_of_which_one_field_was_declared_shows_only_that() -> None:
    section = seen_by_split().split
    with pytest.raises(UndeclaredFieldError):
        section.stratify  # noqa: B018 - reading it is what is tested


def test_a_field_that_no_recipe_has_is_an_ordinary_mistake() -> None:
    with pytest.raises(AttributeError):
        seen_by_split().sedd  # noqa: B018


def own_step(compute: Callable[..., None], **options: Any) -> Step:
    compute.__module__ = "tasks.steps.classify.split"  # the key needs a module of the project
    return step("own", **options)(compute)


def do(made: Step) -> Artifact:
    """Runs a step without inputs as Prefect does when the store has no artifact of it."""
    return made._run(Run(RECIPE), made.ingredients(RECIPE, {}), {})


def test_a_step_that_reads_an_undeclared_field_leaves_no_artifact(home: Path) -> None:
    def compute(work: Work[ClassifyRecipe]) -> None:
        (work.folder / "epochs").write_text(str(work.recipe.training.epochs))

    with pytest.raises(UndeclaredFieldError, match="step own reads training: "):
        do(own_step(compute, reads=["split.seed"]))
    assert list(FolderStore(home / "store").manifests("own")) == []


def test_a_step_can_read_what_it_keeps_out_of_its_key(home: Path) -> None:
    def compute(work: Work[ClassifyRecipe]) -> None:
        (work.folder / "checkpoints").write_text(str(work.recipe.training.checkpoint_every))

    artifact = do(own_step(compute, unkeyed=["training.checkpoint_every"]))
    assert artifact.file("checkpoints").read_text() == "500"
    assert artifact.folder.parent == home / "store" / "own"


def test_code_that_changed_after_the_process_loaded_it_computes_nothing(home: Path) -> None:
    def compute(work: Work[ClassifyRecipe]) -> None:
        (work.folder / "data").write_text("by the old code")

    made = own_step(compute)
    edited = replace(made, code={**made.code, "lib.data.messages.split": "what it was before"})
    with pytest.raises(
        StoreError, match=r"the code of lib\.data\.messages\.split changed after this run began: run again"
    ):
        do(edited)
    assert list(FolderStore(home / "store").manifests("own")) == []
    assert do(made).file("data").read_text() == "by the old code"


# -- warnings ---------------------------------------------------------------------------------------------------


def warning_step(*sentences: str) -> Step:
    def compute(work: Work[ClassifyRecipe]) -> None:
        (work.folder / "data").write_text("the same")
        for sentence in sentences:
            work.warn(sentence)

    return own_step(compute, identity=lambda *_: {"wording": " ".join(sentences)})


def test_what_a_step_warned_of_stays_with_its_artifact_and_makes_nothing_else_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    quiet, warned = do(warning_step()), do(warning_step("100 % are ham", "5 % are cut"))
    assert caplog.messages == ["100 % are ham", "5 % are cut"]
    assert warnings_of([quiet, warned, warned]) == ["100 % are ham", "5 % are cut"]
    assert quiet.digest == warned.digest
    assert not quiet.file(WARNINGS).exists()


def test_a_report_that_repeats_warnings_depends_on_them(tmp_path: Path) -> None:
    made = STEPS["classify/evaluate"][1]
    given = artifacts_in(tmp_path, made.inputs)
    before = key_of(made.ingredients(RECIPE, given))
    add_warning(tmp_path, "a label is rare")
    assert key_of(made.ingredients(RECIPE, given)) != before


# -- keys -------------------------------------------------------------------------------------------------------


def artifacts_in(folder: Path, names: tuple[str, ...]) -> dict[str, Artifact]:
    """Inputs with digests that depend on their names alone, and the files that a key is made of."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"network": "gpt2", "width": 8, "depth": 1, "pooling": "last_token", "uncut": None}
    (folder / "backbone.json").write_text(json.dumps(facts))
    lengths = {split: {"tokens": 100} for split in (*SPLITS, "reserve")}
    (folder / "tokens.json").write_text(json.dumps({"splits": lengths}))
    (folder / "lines.parquet").write_bytes(b"lines")
    return {name: Artifact(step=name, key="0" * 32, digest=f"digest of {name}").in_folder(folder) for name in names}


def ingredients(name: str, recipe: AnyRecipe, folder: Path | None = None) -> dict[str, Any]:
    made = STEPS[name][1]
    with tempfile.TemporaryDirectory() as somewhere:
        return made.ingredients(recipe, artifacts_in(folder or Path(somewhere), made.inputs))


def test_steps_of_different_names_are_different_and_of_one_name_the_same() -> None:
    by_name: dict[str, Step] = {}
    for _, made in STEPS.values():
        assert by_name.setdefault(made.name, made) is made


@pytest.mark.parametrize("use_case", USE_CASES)
def test_a_steps_inputs_are_made_before_it(use_case: str) -> None:
    made: set[str] = set()
    for each in USE_CASES[use_case].all_steps:
        assert set(each.inputs) <= made, each.name
        made.add(each.name)


def test_what_runs_are_made_for_is_made_from_all_other_steps() -> None:
    for use_case in USE_CASES.values():
        steps = {each.name: each for each in use_case.all_steps}
        reached = {each.name for each in use_case.final}
        for name in reversed(steps):
            if name in reached:
                reached |= set(steps[name].inputs)
        assert reached == set(steps)


@pytest.mark.parametrize("name", sorted({made.name for _, made in STEPS.values()}))
def test_what_a_step_declares_exists(name: str) -> None:
    of_step = [(RECIPES[use_case], made) for use_case, made in STEPS.values() if made.name == name]
    fields = {field.path for recipe, _ in of_step for field in recipe_fields(recipe)}
    sections = {section for recipe, _ in of_step for section in section_names(recipe)}
    assert {*of_step[0][1].reads, *of_step[0][1].unkeyed} <= fields | sections


# What no step reads. The run's name; what was published, which is for people; and what decides about a champion, which
# no artifact depends on.
PUBLISHED = ("weights", "before_accuracy", "before_loss", "after_accuracy")
DECISION = ("promote", "significance", "max_false_positive_increase")
UNREAD = {
    "classify": [
        "name",
        *(f"published.{name}" for name in PUBLISHED),
        *(f"registry.{name}" for name in DECISION),
    ],
    "instruct": [
        *("name", "model.causal_mask"),  # a mask that is always causal
        "cluster.workers",  # of what is computed in parts
        *(f"published.{name}" for name in ("weights", "before_loss", "judge_mean")),
        "registry.name",  # no frozen test set belongs to it
    ],
}


@pytest.mark.parametrize("use_case", USE_CASES)
def test_every_field_is_read_by_a_step_or_belongs_to_none(use_case: str) -> None:
    own = [made for name, made in STEPS.values() if name == use_case]
    declared = {path for made in own for path in (*made.reads, *made.unkeyed)}
    fields = recipe_fields(RECIPES[use_case])
    inside = tuple(f"{section}." for section in declared)
    assert [f.path for f in fields if f.path not in declared and not f.path.startswith(inside)] == UNREAD[use_case]


def test_fields_of_a_section_enter_the_key_one_by_one_without_the_unkeyed() -> None:
    fields = ingredients("classify/finetune", RECIPE)["fields"]
    assert fields["training.epochs"] == 5
    assert fields["classifier.pooling"] == "auto"
    assert "training.checkpoint_every" not in fields
    assert "training" not in fields


@pytest.mark.parametrize(
    ("step_name", "section", "field", "value", "same"),
    [
        ("classify/finetune", "training", "learning_rate", 1e-4, False),
        ("classify/finetune", "training", "checkpoint_every", 7, True),
        ("classify/finetune", "registry", "name", "other", True),
        ("classify/split", "split", "seed", 7, False),
        ("classify/split", "training", "learning_rate", 1e-4, True),
        ("classify/backbone", "model", "seed", 7, False),
        ("classify/download", "data", "url", "elsewhere.zip", True),  # the sample's checksum says all
    ],
)
def test_a_key_changes_with_what_its_step_reads(
    step_name: str, section: str, field: str, value: object, same: bool
) -> None:
    values = RECIPE.model_dump(mode="json")
    values[section][field] = value
    assert (ingredients(step_name, build_recipe(values)) == ingredients(step_name, RECIPE)) is same


def test_a_key_changes_with_its_inputs(tmp_path: Path) -> None:
    made = STEPS["classify/finetune"][1]
    given = artifacts_in(tmp_path, made.inputs)
    other = given | {"tokenize": given["tokenize"].model_copy(update={"digest": "another"})}
    assert key_of(made.ingredients(RECIPE, given)) != key_of(made.ingredients(RECIPE, other))


@pytest.fixture
def two_places(name: str, tmp_path: Path) -> tuple[AnyRecipe, AnyRecipe]:
    """The same recipe for the same files, which lie in two different folders."""
    recipes: list[AnyRecipe] = []
    for place in ("here", "far/away"):
        folder = tmp_path / place
        (folder / "weights").mkdir(parents=True)
        (folder / "mine.csv").write_text("text,label\nhello,ham\nWIN NOW,spam\n")
        (folder / "weights" / "config.json").write_text(json.dumps(GPT_CONFIG))
        (folder / "weights" / "model.safetensors").write_bytes(b"numbers")
        model = {"size": "from-weights", "weights": str(folder / "weights")}
        values = {"data": {"url": str(folder / "mine.csv")}, "model": model}
        recipes.append(build(values, model=RECIPES[STEPS[name][0]]))
    return recipes[0], recipes[1]


@pytest.mark.parametrize("name", STEPS)
def test_a_key_depends_on_no_place(
    name: str, two_places: tuple[AnyRecipe, AnyRecipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ingredients(name, two_places[0], tmp_path / "store")
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "another home"))
    monkeypatch.chdir(tmp_path)
    assert ingredients(name, two_places[1], tmp_path / "moved") == here


@pytest.mark.parametrize("name", STEPS)
def test_ingredients_name_no_folder_and_no_host(
    name: str, two_places: tuple[AnyRecipe, AnyRecipe], tmp_path: Path
) -> None:
    text = json.dumps(ingredients(name, two_places[0], tmp_path / "store"))
    for place in (str(tmp_path), str(PROJECT), str(Path.home()), socket.gethostname()):
        assert place not in text


@pytest.mark.parametrize("name", STEPS)
def test_ingredients_contain_no_time(name: str, two_places: tuple[AnyRecipe, AnyRecipe], tmp_path: Path) -> None:
    before = ingredients(name, two_places[0])
    for file in tmp_path.rglob("*"):
        os.utime(file, (1e9, 1e9))
    assert ingredients(name, two_places[0]) == before


def test_another_process_makes_the_same_key() -> None:
    """Hash seeds, and with them the order of sets, differ between processes."""
    program = (
        "from lib.store.artifacts import key_of\nfrom tests.support.recipes import build_recipe\n"
        "from tasks.steps.classify.finetune import finetune\n"
        "print(key_of(finetune.ingredients(build_recipe({'data': {'source': 'sample'}}), {})))"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=PROJECT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert keys == {key_of(STEPS["classify/finetune"][1].ingredients(RECIPE, {})) + "\n"}


# -- records ----------------------------------------------------------------------------------------------------


def published(home: Path) -> Artifact:
    store = FolderStore(home / "store")
    with store.write("own", "k" * 32, {}) as folder:
        (folder / "data").write_text("whole")
    artifact = store.find("own", "k" * 32)
    assert artifact is not None
    return artifact


def test_a_whole_artifact_has_a_record_that_leads_to_it(home: Path) -> None:
    artifact = published(home)
    record = json.loads(ArtifactRecords().read_path(f"own/{artifact.key}"))
    told = Path(record["storage_key"]).read_text()
    assert artifact.digest in told
    assert str(home) not in told


def test_a_record_follows_the_store_to_another_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = published(home)
    shutil.move(home, tmp_path / "moved")
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "moved"))
    record = json.loads(ArtifactRecords().read_path(f"own/{artifact.key}"))
    assert Path(record["storage_key"]).is_relative_to(tmp_path / "moved")
    assert artifact.digest in Path(record["storage_key"]).read_text()


@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_what_is_missing_or_damaged_has_no_record(home: Path, harm: str) -> None:
    artifact = published(home)
    if harm == "missing":
        shutil.rmtree(artifact.folder)
    else:
        artifact.file("data").write_text("whale")
    with pytest.raises(FileNotFoundError):
        ArtifactRecords().read_path(f"own/{artifact.key}")


# -- locks ------------------------------------------------------------------------------------------------------


@pytest.fixture
def locks() -> StoreLocks:
    return StoreLocks()


@pytest.fixture
def other_process(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of KEY until its standard input is closed."""
    program = (
        "import sys\nfrom tasks.engine.prefect_cache import StoreLocks\nlocks = StoreLocks()\n"
        f"assert locks.acquire_lock({KEY!r}, 'other')\nprint('held', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_has_one_holder(locks: StoreLocks) -> None:
    assert not locks.is_locked(KEY)
    assert locks.acquire_lock(KEY, "a")
    assert locks.is_locked(KEY)
    assert locks.is_lock_holder(KEY, "a")
    assert not locks.is_lock_holder(KEY, "b")
    assert not locks.acquire_lock(KEY, "b", acquire_timeout=0.01)
    locks.release_lock(KEY, "a")
    assert not locks.is_locked(KEY)
    assert locks.acquire_lock(KEY, "b", acquire_timeout=0.01)
    locks.release_lock(KEY, "b")


def test_the_holder_may_ask_again(locks: StoreLocks) -> None:
    assert locks.acquire_lock(KEY, "a")
    assert locks.acquire_lock(KEY, "a")
    locks.release_lock(KEY, "a")
    assert not locks.is_locked(KEY)


def test_locks_of_different_keys_are_different(locks: StoreLocks) -> None:
    assert locks.acquire_lock(KEY, "a")
    assert locks.acquire_lock("split/fedcba9876543210", "b", acquire_timeout=0)
    locks.release_lock(KEY, "a")
    locks.release_lock("split/fedcba9876543210", "b")


def test_a_lock_is_not_released_by_another_holder(locks: StoreLocks) -> None:
    assert locks.acquire_lock(KEY, "a")
    with pytest.raises(ValueError, match=f"b does not hold the lock of {KEY}"):
        locks.release_lock(KEY, "b")
    assert locks.is_lock_holder(KEY, "a")
    locks.release_lock(KEY, "a")
    with pytest.raises(ValueError, match="a does not hold"):
        locks.release_lock(KEY, "a")


def test_one_thread_at_a_time_is_inside(locks: StoreLocks) -> None:
    inside: list[str] = []
    most = 0
    started = threading.Barrier(4)

    def work(holder: str) -> None:
        nonlocal most
        started.wait()
        for _ in range(5):
            assert locks.acquire_lock(KEY, holder)
            inside.append(holder)
            most = max(most, len(inside))
            inside.remove(holder)
            locks.release_lock(KEY, holder)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, "abcd"))
    assert most == 1
    assert not locks.is_locked(KEY)


def test_a_thread_that_waits_gets_the_lock_when_it_is_free(locks: StoreLocks, caplog: pytest.LogCaptureFixture) -> None:
    assert locks.acquire_lock(KEY, "a")
    said = threading.Event()

    def hear(record: logging.LogRecord) -> bool:
        said.set()
        return True

    caplog.handler.addFilter(hear)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(locks.acquire_lock, KEY, "b")
        assert said.wait(30), "who waits says so"
        assert not waiting.done()
        locks.release_lock(KEY, "a")
        assert waiting.result(30)
    assert f"{KEY} is being computed by another run: waiting for it" in caplog.text
    locks.release_lock(KEY, "b")


def test_waiting_for_a_lock_takes_none(locks: StoreLocks) -> None:
    assert locks.wait_for_lock(KEY, timeout=0)
    assert locks.acquire_lock(KEY, "a")
    assert not locks.wait_for_lock(KEY, timeout=0.01)
    locks.release_lock(KEY, "a")
    assert locks.wait_for_lock(KEY, timeout=0)
    assert not locks.is_locked(KEY)


def test_another_process_is_kept_out_until_it_ends(locks: StoreLocks, other_process: subprocess.Popen[str]) -> None:
    assert locks.is_locked(KEY)
    assert not locks.is_lock_holder(KEY, "other")
    assert not locks.acquire_lock(KEY, "a", acquire_timeout=0.01)
    assert not locks.wait_for_lock(KEY, timeout=0.01)
    assert other_process.stdin is not None
    other_process.stdin.close()
    assert locks.wait_for_lock(KEY, timeout=60)
    assert locks.acquire_lock(KEY, "a", acquire_timeout=60)
    locks.release_lock(KEY, "a")


def test_a_killed_process_holds_nothing(locks: StoreLocks, other_process: subprocess.Popen[str]) -> None:
    assert locks.is_locked(KEY)
    other_process.kill()
    assert locks.acquire_lock(KEY, "a", acquire_timeout=60)
    locks.release_lock(KEY, "a")


def test_prefects_asynchronous_engine_has_the_same_locks(locks: StoreLocks) -> None:
    assert asyncio.run(locks.aacquire_lock(KEY, "a"))
    assert not asyncio.run(locks.aacquire_lock(KEY, "b", acquire_timeout=0.01))
    assert not asyncio.run(locks.await_for_lock(KEY, timeout=0.01))
    locks.release_lock(KEY, "a")
    assert asyncio.run(locks.await_for_lock(KEY))


def test_copies_of_the_policy_have_the_same_locks(locks: StoreLocks) -> None:
    policy = ArtifactPolicy().configure(lock_manager=locks)
    assert isinstance(policy, ArtifactPolicy)
    assert policy.lock_manager is locks
    assert copy.deepcopy(locks) is locks
