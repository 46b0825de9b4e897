"""Processes of a Ray cluster train what two of this machine do, though one of them is lost, or its machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import psutil
import pytest

from lib.cluster.agreement import Agreement
from lib.cluster.opening import workplace_of
from lib.errors import ClusterError, MessagesError
from lib.progress import NOBODY, Listener
from lib.store.folder import FolderStore
from lib.training.distributed.job import Job
from lib.training.distributed.launch import train_together
from lib.training.distributed.on_ray import train_on_ray
from tasks.steps.classify.finetune import finetune
from tasks.store import store_at, store_place
from tests.support import trained_together
from tests.support.object_servers import BUCKET, environment, moto
from tests.support.procedure import perform
from tests.support.ray_nodes import RayNodes, ray_nodes
from tests.support.steps import STEPS, performed, recipe_for, write_data
from tests.support.trained_together import LONGER, assert_same, history_in, job, resumed_at, told

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    with ray_nodes(tmp_path_factory.mktemp("home"), processors=1) as nodes:
        yield nodes


def train(work: Job, nodes: RayNodes, listener: Listener = NOBODY) -> None:
    scratch = Path(work.arguments["scratch"])
    scratch.mkdir(parents=True, exist_ok=True)
    with workplace_of(scratch, None, []) as workplace:
        train_on_ray(
            work,
            told(listener),
            address=nodes.address,
            agreement=Agreement.here(trained_together.__name__),
            workplace=workplace,
            making=None,
        )


def test_where_a_node_is_lost_it_ends_with_the_bits_of_an_undisturbed_training(nodes: RayNodes, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed" / "messages"
    train_together(job(undisturbed.parent, ["messages"], **LONGER), told())
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


def test_a_step_over_a_bucket_of_which_a_process_is_killed_has_the_digest_that_two_processes_of_this_machine_make(
    nodes: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The bucket is all that the cluster's machines share: checkpoints come through the cluster."""
    caplog.set_level("WARNING")
    killed: list[int] = []

    def progress(done: int, total: int | None, unit: str) -> None:
        if done > 20 and not killed:
            killed.extend(kill_one_that_trains(nodes))

    with moto() as endpoint:
        for name, value in environment(endpoint).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("FINETUNE_STORE", f"s3://{BUCKET}/store")
        data = write_data(tmp_path, {})
        training = {"epochs": 20, "evaluate_every": 40, "checkpoint_every": 4, "batch_size": 7, "processes": 2}
        recipe = recipe_for(data, "scratch", training=training)
        store = store_at(store_place())
        made = performed(store, recipe, STEPS[:-1])
        inputs = {name: made[name] for name in finetune.inputs}
        monkeypatch.setattr("tasks.steps.together.watched", lambda *_: nullcontext(NOBODY))
        here = perform(FolderStore(tmp_path / "here"), recipe, finetune, **inputs)
        monkeypatch.setattr("tasks.steps.together.watched", lambda *_: nullcontext(Listener(progress=progress)))
        on_ray = recipe_for(data, "scratch", training=training, cluster={"kind": "ray", "address": nodes.address})
        there = perform(store, on_ray, finetune, **inputs)
    assert len(killed) == 1
    (resumed,) = re.findall(r"went on from a checkpoint after (\d+) batches", caplog.text)
    assert int(resumed) >= 20
    assert (there.key, there.digest) == (here.key, here.digest)


def kill_one_that_trains(nodes: RayNodes) -> list[int]:
    """Kills one of Ray Train's workers of this cluster; returns which."""
    for process in psutil.process_iter(["cmdline"]):
        with suppress(psutil.Error):
            named = " ".join(process.info["cmdline"] or [])
            if "RayTrainWorker" in named and process.environ().get("FINETUNE_HOME") == str(nodes.home):
                process.kill()
                return [process.pid]
    return []


def test_an_error_that_a_user_can_correct_comes_through(nodes: RayNodes, tmp_path: Path) -> None:
    with pytest.raises(MessagesError, match=r"^there is something wrong with a message$"):
        train(job(tmp_path, ["messages"], wrong=1), nodes)
    with pytest.raises(ClusterError, match=r"training.processes is 3, and the Ray cluster has 2 processors"):
        train(job(tmp_path, ["messages"], processes=3), nodes)
