"""MLflow away, slow or lying, at every moment of a run: the result is whole, and its record is delivered later, once.

A real MLflow server stands behind a loopback proxy that fails as it is told. Each try is compared with a run whose
server never failed.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from flows.run.delivery import deliver_all
from flows.run.recorded import flow_of
from flows.use_cases.classify import CLASSIFY
from lib.files.listing import SHA256_TAG
from lib.training.history import read_history
from tasks.record.outbox import Outbox
from tasks.registry.frozen import frozen_texts
from tests.faults.outcomes import Outcomes, scale
from tests.support.e2e import Home, copy_of, experiment_id, free_port, serving
from tests.support.publishing import EXPERIMENT, recipe
from tests.support.tracking import tracking_restored
from tests.support.unreliable_server import Mode, UnreliableServer, unreliable

pytestmark = [pytest.mark.faults, pytest.mark.e2e]

SLOW = scale(ci=0, full=5)  # seconds that an answer is late
PATIENCE = f"{scale(ci=1, full=3)}"  # seconds after which a silent server is given up: less than in earnest
# What differs between two runs that are the same.
OF_THE_RUN = ("prefect.flow_run", "mlflow.log-model.history", "finetune.record", "finetune.process", "mlflow.runName")
NAMED = ("recipe.yaml", "report.html")  # files that name the run or its model


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory, new_database: Path) -> Iterator[str]:
    """A real MLflow server, which serves artifacts itself; its address."""
    folder = tmp_path_factory.mktemp("mlflow-server")
    shutil.copyfile(new_database, folder / "server.db")
    address = f"http://127.0.0.1:{(port := free_port())}"
    places = ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "files")]
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *places]
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with serving(command, health=f"{address}/health", folder=folder, environment=environment):
        yield address


@dataclass
class Place:
    """A home in which a run found all its artifacts in the store, and a server between it and MLflow."""

    proxy: UnreliableServer
    tracking: MlflowClient  # past the proxy
    home: Home
    tries: int = 0

    def run(self) -> tuple[str, dict[str, Any]]:
        """Runs the recipe under a registered name of its own; returns that, and what `--json` prints."""
        self.tries += 1
        name = f"faults-{self.tries}"
        return name, flow_of(CLASSIFY)(recipe(name, data__url=self.home.data))

    def challenge(self, name: str) -> dict[str, Any]:
        """Runs another recipe under the name, whose champion and frozen test set this home has no copies of; returns
        what `--json` prints."""
        for folder in ("models", "frozen"):
            shutil.rmtree(self.home.folder / folder, ignore_errors=True)
        chosen = recipe(name, data__url=self.home.data, training__learning_rate=LEARNING_RATES["away"])
        return flow_of(CLASSIFY)(chosen)

    def runs(self, name: str) -> list[Run]:
        """MLflow's runs of that registered name, the oldest first."""
        experiment = experiment_id(self.tracking, EXPERIMENT)
        mine = f"params.`registry.name` = '{name}'"
        return list(self.tracking.search_runs([experiment], mine, order_by=["attributes.start_time"]))

    def known(self, name: str, folder: Path, number: int = 1) -> dict[str, Any]:
        """All that MLflow and its registry have of the last of so many runs of that name, each of which registered a
        version, but for names, times and ids."""
        runs = self.runs(name)
        versions = self.tracking.search_model_versions(f"name = '{name}'")
        assert (len(runs), len(versions)) == (number, number)
        run = runs[-1]
        version = self.tracking.get_model_version(name, f"{number}")
        model = self.tracking.get_registered_model(name)
        frozen = json.loads(model.tags["finetune.frozen_test"])
        assert frozen["run"] == runs[0].info.run_id
        assert version.run_id == run.info.run_id
        assert run.inputs is not None
        return {
            "status": run.info.status,
            "params": run.data.params | {"registry.name": ""},
            "tags": {
                tag: value.replace(run.info.run_id, "RUN")
                for tag, value in run.data.tags.items()
                if not tag.startswith(OF_THE_RUN) and tag != "mlflow.note.content"
            },
            "metrics": {
                metric: sorted(
                    (point.step, point.value) for point in self.tracking.get_metric_history(run.info.run_id, metric)
                )
                for metric in run.data.metrics
            },
            "last": run.data.metrics,
            "datasets": sorted((each.dataset.name, each.dataset.digest) for each in run.inputs.dataset_inputs),
            "files": self.files(run.info.run_id, folder),
            "version": (
                version.version,
                sorted(version.aliases),
                version.status,
                str(version.description).replace(name, "NAME"),
            ),
            "version's tags": {tag: value for tag, value in version.tags.items() if tag != SHA256_TAG},
            "champions": [reign["version"] for reign in json.loads(model.tags["finetune.champions"])],
            "model": self.model(name, version.version, folder / "model"),
            "logged models": len(self.logged_models(run)),
        }

    def logged_models(self, run: Run) -> list[Any]:
        """MLflow's models of a run, whether a version refers to them or not."""
        found = self.tracking.search_logged_models([run.info.experiment_id])
        return [model for model in found if model.source_run_id == run.info.run_id]

    def files(self, run: str, folder: Path) -> dict[str, str]:
        """The run's files with their checksums."""
        place = folder / "files"
        place.mkdir(parents=True)
        self.tracking.download_artifacts(run, "", str(place))
        return checksums(place)

    def model(self, name: str, version: str, folder: Path) -> dict[str, str]:
        """The files of a registered version with their checksums; those that MLflow dates are left out."""
        folder.mkdir(parents=True)
        uri = f"models:/{name}/{version}"
        mlflow.artifacts.download_artifacts(
            artifact_uri=uri, dst_path=str(folder), tracking_uri=self.tracking.tracking_uri
        )
        return {file: digest for file, digest in checksums(folder).items() if Path(file).name not in DATED}


# Their checksum is in the version's tag.
DATED = (
    "MLmodel",
    "registered_model_meta",
    "recipe.json",
    "checksums.json",
)  # files of a model that name it, or when it was made
WORDS: dict[str, str] = {
    "away": "nothing listens",
    "500": "500 for every request",
    "html": "a page of HTML with status 200",
    "empty": "nothing with status 200",
    "silent": "no answer",
    "lost": "requests are carried out and not answered",
    "slow": "each answer is late",
}


def checksums(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): "" if file.name in NAMED else hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def place(
    finished: tuple[Home, Any], mlflow_server: str, tmp_path_factory: pytest.TempPathFactory, prefect_api: str
) -> Iterator[Place]:
    """A copy of the finished run's home, from which a server that has none of it is told."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    home = copy_of(finished[0], tmp_path_factory.mktemp("place") / "home")
    with pytest.MonkeyPatch.context() as patch, tracking_restored(), unreliable(mlflow_server, slow=SLOW) as proxy:
        patch.setenv("FINETUNE_HOME", str(home.folder))
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", PATIENCE)
        patch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        with temporary_settings({PREFECT_API_URL: prefect_api}):
            yield Place(proxy, MlflowClient(mlflow_server, registry_uri=mlflow_server), home)


@pytest.fixture(scope="module")
def undisturbed(place: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What MLflow has of a run whose server never failed."""
    name, result = place.run()
    assert result["waits"] == ""
    assert Outbox().ids() == []
    return place.known(name, tmp_path_factory.mktemp("undisturbed"))


LEARNING_RATES = {"away": 0.002, "silent": 0.003}  # of other classifiers than the finished run's
REQUESTS = 200  # of a run that finds all its artifacts; a few more or less do not matter
WAYS: tuple[Mode, ...] = ("away", "500", "html", "empty", "silent", "lost")


def delivered(
    place: Place, name: str, result: dict[str, Any], undisturbed: dict[str, Any], folder: Path, number: int = 1
) -> None:
    """Asserts that the result of a name's so-manieth run is whole, and that once the server is back its record is
    delivered, and once."""
    assert result["metrics"].keys() >= {"test/accuracy", "baseline/test/accuracy"}
    assert {step["state"] for step in result["steps"]} <= {"cached", "ran", "waits"}
    place.proxy.behave("well")
    waiting = Outbox().ids()
    assert bool(waiting) == bool(result["waits"])
    for _ in range(2):  # the second finds nothing to do
        assert [each.why_not for each in deliver_all()] == ["" for _ in waiting]
        waiting = []
    assert Outbox().ids() == []
    known = place.known(name, folder, number)
    for what, expected in undisturbed.items():
        assert known[what] == expected, what


def test_a_server_that_is_away_from_beginning_to_end_gets_it_all_later(
    place: Place, undisturbed: dict[str, Any], tmp_path: Path, outcomes: Outcomes
) -> None:
    with outcomes.trying("the tracking server is away from the beginning to the end of a run"):
        place.proxy.behave("away")
        name, result = place.run()
        assert (result["registered"], result["mlflow_run"]) == (None, "")
        assert result["verdict"][-1].startswith("Its version waits to be registered: `finetune deliver` does that")
        assert f"MLflow does not answer at {place.proxy.url}" in result["waits"]
        assert "`finetune deliver` sends it" in result["waits"]
        assert {step["step"] for step in result["steps"] if step["state"] == "waits"} == {"track", "register"}
        delivered(place, name, result, undisturbed, tmp_path)
        place.proxy.behave("away")
        assert frozen_texts(name)  # whoever froze the test set has noted it
        place.proxy.behave("well")


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_fails_at_any_request_and_stays_so_gets_the_rest_later(
    place: Place, undisturbed: dict[str, Any], way: Mode, tmp_path: Path, outcomes: Outcomes
) -> None:
    choice = random.Random(way)
    for number in range(scale(ci=1, full=12)):
        after = choice.randrange(REQUESTS)
        with outcomes.trying(f"the tracking server fails in the middle of a run and stays so: {WORDS[way]}"):
            place.proxy.behave(way, after=after)
            name, result = place.run()
            assert after == 0 or result["mlflow_run"] or after < 8, f"after {after} requests"
            delivered(place, name, result, undisturbed, tmp_path / f"{number}")


@pytest.mark.parametrize("way", ["lost", "500"])
def test_a_server_that_fails_for_a_moment_gets_all_of_it_once(
    place: Place, undisturbed: dict[str, Any], way: Mode, tmp_path: Path, outcomes: Outcomes
) -> None:
    choice = random.Random(f"a moment, {way}")
    for number in range(scale(ci=1, full=24)):
        after = choice.randrange(REQUESTS)
        with outcomes.trying(f"one request to the tracking server fails: {WORDS[way]}"):
            place.proxy.behave(way, after=after, during=1)
            name, result = place.run()
            failed = place.proxy.requests[after]
            if failed.startswith("GET") and "runs/get" not in failed:  # which is also asked for while a model is logged
                assert result["waits"] == "", f"{failed} was not asked for again"
            delivered(place, name, result, undisturbed, tmp_path / f"{number}")


def test_what_was_not_taken_is_sent_again_and_a_version_stays(
    place: Place, undisturbed: dict[str, Any], tmp_path: Path, outcomes: Outcomes
) -> None:
    """A proxy that answers an upload in MLflow's place, and a decision of which a part was not written."""
    place.proxy.behave("well")
    place.run()
    requests = list(place.proxy.requests)
    uploads = [number for number, request in enumerate(requests) if request.startswith("PUT ")]
    of_models = [number for number in uploads if "/models/" in requests[number]]
    of_runs = [number for number in uploads if "/models/" not in requests[number]]
    written = [number for number, request in enumerate(requests) if request.endswith("model-versions/set-tag")]
    moments: dict[str, tuple[Mode, list[int]]] = {
        "a file of a run is answered by something else": ("html", of_runs),
        "a file of a model is answered by something else": ("empty", of_models),
        "a decision is written by half": ("away", written),
    }
    for number, (fault, (way, when)) in enumerate(moments.items()):
        with outcomes.trying(fault):
            place.proxy.behave(way, after=when[len(when) // 2], during=1)
            name, result = place.run()
            delivered(place, name, result, undisturbed, tmp_path / f"{number}")


def test_a_registry_that_is_away_postpones_publishing_alone(
    place: Place, undisturbed: dict[str, Any], tmp_path: Path, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place.tracking.tracking_uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", place.proxy.url)
    with outcomes.trying("a registry of its own is away while the tracking server answers"):
        place.proxy.behave("away")
        name, result = place.run()
        assert result["registered"] is None
        assert {step["step"] for step in result["steps"] if step["state"] == "waits"} == {"register"}
        (run,) = place.runs(name)
        assert run.info.status == "FINISHED"
        assert "not registered yet" in Path(result["report"]).read_text()
        delivered(place, name, result, undisturbed, tmp_path)


def test_a_slow_server_gets_all_of_it_at_once(
    place: Place, undisturbed: dict[str, Any], tmp_path: Path, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    for number in range(scale(ci=0, full=1)):  # it takes a quarter of an hour
        with outcomes.trying(f"the tracking server answers every request {SLOW} seconds late"):
            place.proxy.behave("slow")
            name, result = place.run()
            assert result["waits"] == ""
            delivered(place, name, result, undisturbed, tmp_path / f"{number}")


def learn(place: Place, way: Mode) -> tuple[str, subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """A training under a registered name of its own, while which the server dies, and the delivery once it is back;
    returns the name and both processes."""
    name = f"learned-{way}"
    environment = {"MLFLOW_TRACKING_URI": place.proxy.url, "MLFLOW_HTTP_REQUEST_TIMEOUT": PATIENCE}
    home = replace(place.home, environment={**place.home.environment, **environment})
    learning = [f"--training.learning_rate={LEARNING_RATES[way]}", f"--registry.name={name}"]
    place.proxy.behave(way, after=14)  # the first point of a curve is the last that it takes
    done = home.call(*home.arguments("--json", *learning))
    place.proxy.behave("well")
    return name, done, home.call(module="flows.deliver")


@pytest.fixture(scope="module")
def learned(
    place: Place,
) -> tuple[str, subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """What `learn` returns for a server that is away from then on; the home has another classifier after it."""
    return learn(place, "away")


@pytest.mark.parametrize("way", ["away", "silent"][: scale(ci=1, full=2)])
def test_a_server_that_dies_while_the_classifier_learns_takes_no_training_with_it(
    place: Place, learned: Any, way: Mode, outcomes: Outcomes
) -> None:
    with outcomes.trying(f"the tracking server dies while a classifier learns: {WORDS[way]}"):
        name, done, sent = learned if way == "away" else learn(place, way)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        result = json.loads(done.stdout.splitlines()[-1])
        assert {step["step"]: step["state"] for step in result["steps"]}["finetune"] == "ran"
        assert done.stderr.splitlines()[-1].startswith("warning: MLflow does not have all of this run yet (")
        assert (sent.returncode, sent.stdout.splitlines()[-1]) == (0, "1 delivered, none waiting"), sent.stderr
        (run,) = place.runs(name)
        (learning,) = [step["artifact"] for step in result["steps"] if step["step"] == "finetune"]
        history = read_history(place.home.folder / "store" / "finetune" / learning["key"] / "history.parquet")
        points = place.tracking.get_metric_history(run.info.run_id, "validation/loss")
        assert sorted((point.step, point.value) for point in points) == sorted(
            zip(history["step"], history["validation_loss"], strict=True)
        )
        (version,) = place.tracking.search_model_versions(f"name = '{name}'")
        assert "finetune.promotion" in place.tracking.get_model_version(name, version.version).tags


@pytest.fixture(scope="module")
def challenged(
    place: Place, learned: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], list[str]]:
    """What MLflow has of a challenger whose server never failed, and the requests of its run."""
    name, _ = place.run()
    place.proxy.behave("well")
    result = place.challenge(name)
    requests = list(place.proxy.requests)
    assert (result["waits"], result["registered"]["champion"]) == ("", "1")
    return place.known(name, tmp_path_factory.mktemp("challenged"), 2), requests


@pytest.mark.parametrize("way", sorted(WAYS)[: scale(ci=1, full=len(WAYS))])
def test_one_lost_request_decides_about_no_challenger(
    place: Place,
    challenged: tuple[dict[str, Any], list[str]],
    way: Mode,
    tmp_path: Path,
    outcomes: Outcomes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The champion's files and the frozen test set are fetched: nothing of them is on this machine."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # or MLflow's client would ask again
    expected, requests = challenged
    fetching = [number for number, request in enumerate(requests) if "GET /api/2.0/mlflow-artifacts" in request]
    choice = random.Random(f"a challenger, {way}")
    for number in range(scale(ci=1, full=8)):
        after = choice.choice(range(len(requests)) if number % 2 else fetching)
        with outcomes.trying(f"one request fails while a challenger is compared: {WORDS[way]}"):
            place.proxy.behave("well")
            name, _ = place.run()
            place.proxy.behave(way, after=after, during=1)
            result = place.challenge(name)
            delivered(place, name, result, expected, tmp_path / f"{number}", 2)
