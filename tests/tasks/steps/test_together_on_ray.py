"""Processes of a Ray cluster train what two of this machine do, though one of them is lost, or its machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from lib.cluster.agreement import Agreement
from lib.cluster.opening import workplace_of
from lib.errors import ClusterError, MessagesError
from lib.progress import NOBODY, Listener
from lib.store.folder import FolderStore
from lib.store.objects import ObjectStore
from lib.training.checkpoint import STATE
from lib.training.distributed.job import Job
from lib.training.distributed.launch import train_together
from lib.training.distributed.on_ray import train_on_ray
from tasks.steps.classify.finetune import finetune
from tests.support import trained_together
from tests.support.object_servers import BUCKET, environment, moto
from tests.support.procedure import perform
from tests.support.ray_nodes import RayNodes, ray_nodes
from tests.support.steps import recipe_for, steps_until_trained, write_data
from tests.support.trained_together import LONGER, assert_same, history_in, job, resumed_at, told

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    with ray_nodes(tmp_path_factory.mktemp("home"), processors=1) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train_together(job(folder, ["messages"], **LONGER), told())
    return folder / "messages"


def train(work: Job, nodes: RayNodes, listener: Listener = NOBODY, making: Any = None) -> None:
    scratch = Path(work.arguments["scratch"])
    scratch.mkdir(parents=True, exist_ok=True)
    with workplace_of(scratch, making, []) as workplace:
        train_on_ray(
            work,
            told(listener),
            address=nodes.address,
            agreement=Agreement.here(trained_together.__name__),
            workplace=workplace,
            making=making,
        )


def test_where_a_node_is_lost_it_ends_with_the_bits_of_an_undisturbed_training(
    nodes: RayNodes, undisturbed: Path, tmp_path: Path
) -> None:
    rows: list[object] = []
    killed: list[int] = []

    def progress(done: int, total: int | None, unit: str) -> None:
        if done > 20 and not killed:
            killed.append(done)
            nodes.kill_second()

    listener = Listener(on_row=rows.append, progress=progress)
    train(job(tmp_path, ["messages"], pause=0.2, **LONGER), nodes, listener)
    assert killed
    assert_same(tmp_path / "messages", undisturbed)
    assert (resumed_at(tmp_path / "messages") or 0) >= 20
    assert len(rows) == len(history_in(undisturbed))


def test_where_a_process_is_killed_checkpoints_come_through_the_cluster_and_a_bucket_has_the_same_bits(
    nodes: RayNodes, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with moto() as endpoint:
        for name, value in environment(endpoint).items():
            monkeypatch.setenv(name, value)
        store = ObjectStore(f"s3://{BUCKET}/store", local=tmp_path / "local", cache_size=10**9)
        with store.writing("finetune", "0" * 64, {}) as making:
            work = job(making.folder, ["messages"], kill=[0, 22, str(tmp_path / "killed")], **LONGER)
            work.arguments["scratch"] = str(tmp_path / "scratch")
            train(work, nodes, making=making)
            assert not (making.folder / "messages").exists()
            assert (tmp_path / "scratch" / STATE).exists()
        artifact = store.find("finetune", "0" * 64)
        assert artifact is not None
        assert_same(artifact.folder / "messages", undisturbed)
        assert (resumed_at(artifact.folder / "messages") or 0) >= 20


def test_a_step_has_the_digest_that_two_processes_of_this_machine_make(
    nodes: RayNodes, store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_STORE", str(store.root))
    monkeypatch.setattr("tasks.steps.together.watched", lambda *_: nullcontext(NOBODY))
    data, training = write_data(tmp_path, {}), {"epochs": 2, "evaluate_every": 4, "batch_size": 7, "processes": 2}
    _, made = steps_until_trained(store, data, "scratch", training=training)
    here = made["finetune"]
    shutil.rmtree(here.folder)
    on_ray = recipe_for(data, "scratch", training=training, cluster={"kind": "ray", "address": nodes.address})
    there = perform(store, on_ray, finetune, **{name: made[name] for name in finetune.inputs})
    assert (there.key, there.digest) == (here.key, here.digest)


def test_an_error_that_a_user_can_correct_comes_through(nodes: RayNodes, tmp_path: Path) -> None:
    with pytest.raises(MessagesError, match=r"^there is something wrong with a message$"):
        train(job(tmp_path, ["messages"], wrong=1), nodes)
    with pytest.raises(ClusterError, match=r"training.processes is 3, and the Ray cluster has 2 processors"):
        train(job(tmp_path, ["messages"], processes=3), nodes)
