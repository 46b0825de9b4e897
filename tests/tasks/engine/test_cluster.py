"""Steps whose parts are computed by a pool of processes, and by a Ray cluster of two nodes on the loopback address: the
same artifacts come out, whoever computes them and whoever dies meanwhile."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import psutil
import pytest

from lib.cluster.cluster import HERE, Cluster
from lib.cluster.on_ray import RayCluster
from lib.cluster.opening import Choice, open_cluster
from lib.cluster.seen import Note
from lib.cluster.workplace import SharedFolders
from lib.data import parts
from lib.errors import ClusterError, SourceError
from lib.evaluation.classify import asking
from lib.extras import installed
from lib.inference.engines.loading import load_engine
from lib.inference.predictor import SavedPredictor
from lib.model.features import parts as feature_parts
from lib.model.features.inputs import split_inputs
from lib.recipes.classify import ClassifyRecipe
from lib.scoring import score as scoring
from lib.scoring.inputs import find_inputs
from lib.scoring.parts import Output
from lib.scoring.places import Folder
from lib.scoring.result import Model
from lib.scoring.rows import Columns
from lib.store.artifacts import Artifact
from lib.store.folder import FolderStore
from lib.store.objects import ObjectStore
from lib.store.store import Store
from tasks.engine import cluster as steps_cluster
from tests.support.asked import served_in
from tests.support.e2e import wait_until
from tests.support.object_servers import BUCKET, SECRET, environment, moto
from tests.support.parted import endless, refused, struck, stuck, whoami
from tests.support.ray_nodes import RayNodes, ray_nodes
from tests.support.recipes import load_recipe
from tests.support.saved import LABELS, save_gpt2_classifier
from tests.support.steps import STEPS, performed

RAY = pytest.mark.cluster
ROWS = 300  # of a part of the tables, of which there are several then


def recipe(kind: str, workers: int, address: str | None = None) -> ClassifyRecipe:
    changes = {"cluster.kind": kind, "cluster.workers": workers, "cluster.address": address}
    changes |= {"classifier.trainable": "last_block", "model.dropout": 0, "training.feature_cache": "on"}
    return load_recipe("quickstart", changes)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """The artifacts of one process."""
    with pytest.MonkeyPatch.context() as patch:
        return made(tmp_path_factory.mktemp("alone"), recipe("local", 1), patch)


def made(
    folder: Path, recipe: ClassifyRecipe, patch: pytest.MonkeyPatch, store: Store | None = None
) -> dict[str, Artifact]:
    """The artifacts of all steps whose parts may be computed elsewhere, and of those before them."""
    patch.setenv("FINETUNE_HOME", str(folder / "home"))
    patch.setattr(parts, "ROWS_PER_PART", ROWS)
    patch.setattr(feature_parts, "ROWS_PER_PART", ROWS)
    return performed(store or FolderStore(folder / "store"), recipe, STEPS[:9])


def same(found: dict[str, Artifact], alone: dict[str, Artifact]) -> None:
    """Checks that keys and digests are those of one process, and that there was something to divide."""
    assert {name: (each.key, each.digest) for name, each in found.items()} == {
        name: (each.key, each.digest) for name, each in alone.items()
    }
    for step in ("tokenize", "features"):
        assert len(list((alone[step].folder / "train").iterdir())) > 2


def test_a_pool_makes_the_same_artifacts(
    tmp_path: Path, alone: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    same(made(tmp_path, recipe("local", 2), monkeypatch), alone)


# -- Ray ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    with ray_nodes(tmp_path_factory.mktemp("other-machine"), processors=1) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def joined(nodes: RayNodes) -> Iterator[RayNodes]:
    """The cluster, to which these tests stay connected, so that its workers need not start for each of them anew."""
    with RayCluster(nodes.address, workers=1, workplace=SharedFolders(Note(Path("/"), ""))):
        yield nodes


@RAY
def test_no_cluster_there_is_one_sentence(tmp_path: Path) -> None:
    if not installed(["ray"]):
        pytest.skip("needs Ray, of the extra cluster")
    choice = Choice("ray", "127.0.0.1:1", 1)
    with (
        pytest.raises(ClusterError, match=r"^there is no Ray cluster at 127\.0\.0\.1:1 that this machine can join: "),
        open_cluster(choice, scratch=tmp_path),
    ):
        pass


@RAY
def test_ray_computes_in_order_again_what_a_dead_worker_did_and_no_more_than_is_wanted(
    nodes: RayNodes, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()

    def interrupted() -> Iterator[Path]:
        yield from [begun, begun]
        wait_until(lambda: any(begun.iterdir()), seconds=60, what="a part has begun")
        raise KeyboardInterrupt

    with (  # noqa: PT012 - it is left by what is raised
        pytest.raises(KeyboardInterrupt),
        open_cluster(Choice("ray", nodes.address, 4), scratch=tmp_path) as cluster,
    ):
        found = list(cluster.run(whoami, [(number, 0.5 if number < 4 else 0.0) for number in range(8)]))
        assert [number for number, _ in found] == list(range(8))
        assert os.getpid() not in {process for _, process in found}
        assert list(cluster.run(struck, [(number, tmp_path) for number in range(4)])) == list(range(4))
        with pytest.raises(SourceError, match=r"^file 3 is not there: look for it$") as refusal:
            list(cluster.run(refused, range(6)))
        assert refusal.value.temporary
        list(cluster.run(endless, interrupted()))
    processes = [int(file.name) for file in begun.iterdir()]
    wait_until(lambda: not any(map(psutil.pid_exists, processes)), seconds=5, what="no worker goes on")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["begun", "struck"]


@dataclass
class Struck:
    """A cluster whose second node is killed once, when it has computed one of these functions and not answered."""

    cluster: Cluster
    nodes: RayNodes
    functions: Sequence[str]
    folder: Path
    kills: int = 0

    @property
    def workers(self) -> int:
        return self.cluster.workers

    def run(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        if function.__name__ not in self.functions or self.kills:
            yield from self.cluster.run(function, items)
            return
        self.nodes.start_second()
        node, marker = self.nodes.second.node_id, self.folder / uuid.uuid4().hex
        ended = Event()
        killer = Thread(target=self._kill, args=(marker, ended))
        killer.start()
        try:
            yield from self.cluster.run(stuck, ((function, item, node, marker) for item in items))
        finally:
            ended.set()
            killer.join()

    def _kill(self, marker: Path, ended: Event) -> None:
        while not marker.exists():
            if ended.wait(0.02):
                return
        self.nodes.kill_second(again=False)
        self.kills += 1


@RAY
def test_ray_makes_the_same_artifacts_though_a_node_is_killed(
    joined: RayNodes, tmp_path: Path, alone: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    struck: list[Struck] = []

    @contextmanager
    def opened(choice: Choice, **more: Any) -> Iterator[Struck]:
        with open_cluster(choice, **more) as cluster:
            struck.append(Struck(cluster, joined, ["_write_part"], tmp_path))  # of tokens, and of features
            yield struck[-1]

    monkeypatch.setattr(steps_cluster, "open_cluster", opened)
    same(made(tmp_path, recipe("ray", 4, joined.address), monkeypatch), alone)
    assert [each.kills for each in struck] == [0, 1, 1]  # messages, tokenize, features


@RAY
def test_ray_scores_the_same_bytes_though_a_node_is_killed(
    joined: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "WINDOW_ROWS", 40)
    classifier = save_gpt2_classifier(tmp_path / "classifier")
    file = tmp_path / "in.csv"
    file.write_text("text\n" + "".join(f"message number {row}\n" for row in range(600)))

    def scored(output: Path, cluster: Cluster) -> dict[str, bytes]:
        with Output(Folder(output)).opened() as opened:
            scoring.score(
                find_inputs([str(file)], format=None, without=str(output)),
                opened,
                model=Model("toy", "1", "the one", LABELS),
                predictor=SavedPredictor(classifier, "cpu"),
                profile=None,
                columns=Columns("text", None),
                part_rows=400,
                cluster=cluster,
            )
        return {part.relative_to(output).as_posix(): part.read_bytes() for part in output.rglob("*.parquet")}

    with open_cluster(Choice("ray", joined.address, 4), scratch=tmp_path) as cluster:
        struck = Struck(cluster, joined, ["answer"], tmp_path)
        found = scored(tmp_path / "ray", struck)
    assert struck.kills == 1
    assert len(found) == 2
    assert found == scored(tmp_path / "alone", HERE)


@RAY
def test_ray_answers_an_evaluation_the_same_though_a_node_is_killed(
    joined: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ASKED", 16)
    served = served_in(tmp_path)
    engine = load_engine(served.classifier, device="cpu")
    inputs = {name: split_inputs(served.tokens, None, name) for name in ("train", "test")}
    with open_cluster(Choice("ray", joined.address, 4), scratch=tmp_path) as cluster:
        struck = Struck(cluster, joined, ["_probabilities"], tmp_path)
        found = asking.ask(engine, inputs, served=served, cluster=struck)
    assert struck.kills == 1
    for name, answers in asking.ask(engine, inputs).items():
        np.testing.assert_array_equal(found[name], answers)


@RAY
def test_ray_makes_the_same_artifacts_in_a_bucket_which_is_all_that_its_machines_share(
    joined: RayNodes, tmp_path: Path, alone: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    with moto() as endpoint:
        for name, value in environment(endpoint).items():
            monkeypatch.setenv(name, value)
        store = ObjectStore(f"s3://{BUCKET}/store", local=tmp_path / "local", cache_size=10**9)
        found = made(tmp_path, recipe("ray", 4, joined.address), monkeypatch, store)
        same(found, alone)
        assert store.problems("tokenize", found["tokenize"].key) == []
        cached = {file.name for file in (joined.home / "store" / ".cache").rglob("part-*")}
        assert cached, "workers read through a cache of their own"
    session = Path(str(joined.cluster.head_node.get_session_dir_path()))
    logs = [file.read_bytes() for file in session.rglob("*") if file.is_file() and file.stat().st_size < 10**8]
    assert logs
    assert not any(SECRET.encode() in log for log in logs)


@RAY
def test_a_folder_that_its_machines_do_not_share_is_refused(joined: RayNodes, tmp_path: Path) -> None:
    elsewhere = SharedFolders(Note(tmp_path / ".seen", "which only the run's machine has"))
    with (
        RayCluster(joined.address, workers=1, workplace=elsewhere) as cluster,
        pytest.raises(
            ClusterError, match=r"^the machine .+ of the Ray cluster does not see .+, where this run works: "
        ),
    ):
        list(cluster.run(refused, [1]))


@RAY
def test_other_code_or_another_package_is_refused(
    joined: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lib.cluster import agreement

    choice = Choice("ray", joined.address, 1)
    with open_cluster(choice, scratch=tmp_path) as cluster:
        with monkeypatch.context() as patch:
            patch.setattr(agreement, "versions", lambda: {"python": "3.1", "torch": "2.99"})
            with pytest.raises(ClusterError, match=r"has .*python 3\..+ instead of 3\.1.*: install the versions"):
                list(cluster.run(refused, [1]))
        with monkeypatch.context() as patch:
            patch.setattr(agreement, "code_fingerprint", lambda module: {module: "edited"})
            with pytest.raises(ClusterError, match=r"has other code of finetune-flows in .+parted or below: "):
                list(cluster.run(refused, [1]))
