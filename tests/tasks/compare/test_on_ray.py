"""Trainings of a comparison as tasks of a Ray cluster, of which a worker is killed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from lib.errors import ClusterError
from lib.progress import Listener
from lib.store.folder import FolderStore
from tasks.compare.on_ray import RayCrew
from tasks.compare.trainings import Training
from tasks.store import artifact_store
from tests.support.ray_nodes import RayNodes, ray_nodes
from tests.support.steps import STEPS, performed, write_data
from tests.support.trainings import Desk, go, recipe_of, training_of

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    with ray_nodes(tmp_path_factory.mktemp("home"), processors=1) as nodes:
        yield nodes


@dataclass
class Killing(Desk):
    """Kills the worker of the first training that is heard, once."""

    killed: list[int] = field(default_factory=list)

    def begins(self, training: Training) -> None:
        super().begins(training)
        heard = training.listener.on_row

        def on_row(row: Mapping[str, float]) -> None:
            heard(row)
            if not self.killed:
                self.killed = [each.pid for each in psutil.process_iter(["cmdline"]) if _trains(each)]
                for pid in self.killed:
                    psutil.Process(pid).kill()

        training.listener = Listener(on_row=on_row)


def _trains(process: psutil.Process) -> bool:
    return any(part.startswith("ray::") and "rate" in part for part in process.info["cmdline"] or ())


def test_trainings_on_a_cluster_come_to_what_they_do_here_though_a_worker_is_killed_and_one_fails(
    nodes: RayNodes, tmp_path: Path
) -> None:
    data = write_data(tmp_path, {})
    recipes = [recipe_of(data, rate) for rate in (5e-3, 1e-2, 1e6)]
    made = performed(artifact_store(), recipes[0], STEPS[:-1])
    trainings = [training_of(number, recipe, made) for number, recipe in enumerate(recipes)]
    for training in trainings:
        training.tracking_run = training.name  # Ray's name of the task
    desk = Killing([*trainings])
    with RayCrew(nodes.address) as crew:
        go(desk, crew)
    assert desk.killed
    assert [desk.outcomes[each.name].state for each in trainings] == ["ran", "ran", "failed"]
    assert "is not a finite number" in desk.outcomes["rate 1e+06"].reason
    here = performed(FolderStore(tmp_path / "store"), recipes[0], STEPS)
    assert here["finetune"].digest == trainings[0].made["finetune"].digest


def test_a_cluster_that_is_not_there_is_said_in_one_sentence() -> None:
    with pytest.raises(ClusterError, match=r"there is no Ray cluster at 127\.0\.0\.1:1 that this machine can join"):
        RayCrew("127.0.0.1:1").__enter__()
