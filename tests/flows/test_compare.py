"""`finetune compare` from end to end: killed in the middle, gone on with, and what is told of it."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from lib.store.artifacts import Manifest
from lib.store.folder import FolderStore
from tests.support.e2e import Home, copy_of, experiment_id
from tests.support.killed import Moment

pytestmark = pytest.mark.e2e

RATES = (3e-3, 1e-2, 3e-2)
SIZES = (8, 16)
EIGHT: dict[str, Any] = {
    "name": "eight",
    "recipe": str(Path(__file__).parents[1] / "support" / "quick.yaml"),
    "changes": {
        "classifier.trainable": "last_block",
        "training.epochs": 2,
        "training.evaluate_every": 20,
        "evaluation.positive_label": "spam",
    },
    "variants": {
        **{
            f"{rate:g} by {size}": {"training.learning_rate": rate, "training.batch_size": size}
            for rate in RATES
            for size in SIZES
        },
        "head": {"classifier.trainable": "head"},
        "broken": {"training.learning_rate": 1e6},
    },
    "baseline": True,
    "parallel": 2,
}
KILLED = Moment(at="tasks.compare.desks:Results.add", call=4, when="before")  # three are told of, and one has ended


def compare(home: Home, values: dict[str, Any], *more: str, moment: Moment | None = None) -> Any:
    """Runs a comparison of these fields to its end, or until it is killed."""
    home.folder.mkdir(parents=True, exist_ok=True)
    file = home.folder / f"{values['name']}.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    arguments = [str(file), f"--data.url={home.data}", "--json", *more]
    if moment is None:
        return home.call(*arguments, module="flows.compare")
    return home.call(moment.json(), "flows.compare", *arguments, module="tests.support.killed")


def printed(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@dataclass
class Twice:
    """A comparison that was killed after its fourth training had ended, and then done."""

    home: Home
    before: dict[tuple[str, str], Manifest]  # the artifacts that there were when it was killed
    result: dict[str, Any]

    @property
    def store(self) -> FolderStore:
        return FolderStore(self.home.folder / "store")

    @property
    def tracking(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.home.folder / 'mlflow.db'}")

    def variant(self, name: str) -> dict[str, Any]:
        (found,) = [each for each in self.result["variants"] if each["name"] == name]
        return dict(found)

    def runs(self) -> list[Run]:
        return list(self.tracking.search_runs([experiment_id(self.tracking, "compare-recipes")]))


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory, small_data: Path, prefect_api: str) -> Twice:
    home = Home(tmp_path_factory.mktemp("compare") / "home", small_data, {"PREFECT_API_URL": prefect_api})
    killed = compare(home, EIGHT, moment=KILLED)
    assert killed.returncode < 0, killed.stdout + killed.stderr
    store = FolderStore(home.folder / "store")
    before = {(manifest.step, manifest.key): manifest for manifest in store.manifests()}
    return Twice(home, before, printed(compare(home, EIGHT)))


def test_a_second_start_trains_what_is_missing_and_nothing_twice(twice: Twice) -> None:
    after = {(manifest.step, manifest.key): manifest for manifest in twice.store.manifests()}
    assert all(after[key].created == manifest.created for key, manifest in twice.before.items())
    trained = Counter(step for step, _ in twice.before)
    assert 4 <= trained["validate"] < 7
    states = Counter(variant["state"] for variant in twice.result["variants"])
    assert states["failed"] == 1
    assert states["cached"] == trained["validate"] + trained["validate_baseline"]
    assert states["ran"] == 8 - states["cached"]


def test_what_variants_share_is_made_once(twice: Twice) -> None:
    made = Counter(manifest.step for manifest in twice.store.manifests())
    for step in ("download", "messages", "balance", "split", "holdout", "tokenizer", "tokenize", "backbone"):
        assert made[step] == 1, step
    assert made["features"] == 2, "one for all that learn the last block, one for the head alone"
    assert (made["finetune"], made["validate"], made["validate_baseline"]) == (7, 7, 1)


def test_the_chosen_one_alone_has_opened_the_test_split(twice: Twice) -> None:
    chosen = twice.result["chosen"]
    assert (
        chosen
        == max(
            (each for each in twice.result["variants"] if each["value"] is not None and each["name"] != "TF-IDF"),
            key=lambda each: each["value"],
        )["name"]
        or Counter(each["value"] for each in twice.result["variants"])[twice.variant(chosen)["value"]] > 1
    )
    (evaluated,) = twice.store.manifests("evaluate")
    trained = {manifest.digest: manifest for manifest in twice.store.manifests("finetune")}
    fields = trained[evaluated.ingredients["inputs"]["finetune"]].ingredients["fields"]
    changes = twice.variant(chosen)["changes"]
    assert {path: fields[path] for path in changes} == changes
    assert 0.5 < twice.result["test"]["test/accuracy"] <= 1
    assert twice.result["registered"] is None
    assert twice.tracking.search_registered_models() == []
    assert any(
        "No other evaluation in this store has seen these messages" in each for each in twice.result["sentences"]
    )


def test_mlflow_has_a_run_for_it_and_one_below_for_each_training(twice: Twice) -> None:
    runs = {run.info.run_id: run for run in twice.runs()}
    whole = runs[twice.result["mlflow_run"]]
    below = [run for run in runs.values() if run.data.tags.get("mlflow.parentRunId") == whole.info.run_id]
    names = Counter(run.data.tags["finetune.variant"] for run in below)
    chosen = twice.result["chosen"]
    assert names == Counter([*EIGHT["variants"], "TF-IDF", chosen])
    assert whole.data.tags["finetune.chosen"] == whole.data.tags["finetune.opened_test"] == chosen
    (opened,) = [run for run in below if "finetune.opened_test" in run.data.tags]
    assert opened.data.metrics["test/accuracy"] == pytest.approx(twice.result["test"]["test/accuracy"])
    assert not any("test/accuracy" in run.data.metrics for run in below if run is not opened)
    for run in below:
        failed = run.data.tags["finetune.variant"] == "broken"
        assert run.info.status == ("FAILED" if failed else "FINISHED")
        if not failed and run is not opened:
            variant = twice.variant(run.data.tags["finetune.variant"])
            assert run.data.metrics["validation/accuracy"] == pytest.approx(variant["value"])
            assert run.info.run_id == variant["mlflow_run"]
    (killed,) = [run for run in runs.values() if "mlflow.parentRunId" not in run.data.tags and run is not whole]
    assert (killed.info.status, killed.data.tags["finetune.error"]) == ("FAILED", "the process was killed")
    curves = [run for run in runs.values() if "train/loss" in run.data.metrics]
    assert len(curves) == 7, "each training's curve is there once, in the run that trained"


def test_its_page_its_table_and_its_pictures_are_here_and_in_mlflow(twice: Twice) -> None:
    folder = Path(twice.result["folder"])
    here = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    assert here == [
        *("comparison.csv", "comparison.html", "comparison.parquet"),
        *(f"figures/{name}.{kind}" for name in ("front", "values") for kind in ("pdf", "png")),
    ]
    run = twice.result["mlflow_run"]
    there = {file.path for file in twice.tracking.list_artifacts(run)}
    assert {"comparison.csv", "comparison.html", "comparison.parquet", "comparison.json", "figures"} <= there
    table = pd.read_parquet(folder / "comparison.parquet")
    assert table["name"].tolist() == [*EIGHT["variants"], "TF-IDF"]
    page = (folder / "comparison.html").read_text()
    assert twice.result["chosen"] in page
    described = twice.tracking.get_run(run).data.tags["mlflow.note.content"]
    assert described.startswith(twice.result["sentences"][0])


def test_prefect_shows_the_table(twice: Twice, prefect_api: str) -> None:
    shown = httpx.post(
        f"{prefect_api}/artifacts/filter",
        json={"artifacts": {"flow_run_id": {"any_": [twice.result["flow_run"]]}, "key": {"any_": ["comparison"]}}},
    ).json()
    assert len(shown) == 1
    assert all(name in shown[0]["data"] for name in ("head", "TF-IDF"))


def test_all_of_it_again_computes_nothing(twice: Twice) -> None:
    explained = printed(compare(twice.home, EIGHT, "--explain"))
    assert {each["would"] for each in explained["shared"]} == {"be reused"}
    would = {(each["training"], each["step"]): each["would"] for each in explained["trainings"]}
    assert {name for (name, _), each in would.items() if each != "be reused"} == {"broken"}


def test_what_was_compared_is_referenced(twice: Twice) -> None:
    done = twice.home.call("prune", "--unreferenced", "--dry-run", "--json", module="flows.store")
    assert printed(done)["artifacts"] == [], (
        "what variants were measured at, and what that was made from, is no rubbish"
    )


def test_what_mlflow_does_not_take_is_delivered_later_each_run_below_its_comparison(
    twice: Twice, tmp_path: Path
) -> None:
    home = copy_of(twice.home, tmp_path / "home")
    database = home.folder / "mlflow.db"
    database.write_bytes(b"this is no database")
    result = printed(compare(home, EIGHT))
    assert result["mlflow_run"] == ""
    assert "`finetune deliver` sends" in result["waits"]
    assert result["chosen"] == twice.result["chosen"]
    database.unlink()
    done = home.call(module="flows.deliver")
    assert done.returncode == 0, done.stdout + done.stderr
    tracking = MlflowClient(f"sqlite:///{database}")
    runs = tracking.search_runs([experiment_id(tracking, "compare-recipes")])
    (whole,) = [run for run in runs if "finetune.chosen" in run.data.tags]
    below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == whole.info.run_id]
    assert len(below) == len(runs) - 1 == len(EIGHT["variants"]) + 2
    assert "comparison.html" in {file.path for file in tracking.list_artifacts(whole.info.run_id)}


def test_a_search_that_is_killed_goes_on_to_the_same_best(
    tmp_path: Path, small_data: Path, prefect_api: str, twice: Twice
) -> None:
    values = {
        "name": "search",
        "recipe": EIGHT["recipe"],
        "changes": {**EIGHT["changes"], "training.learning_rate": 3e-3},
        "metric": "log_loss",
        "parallel": 1,
        "open_test": False,
        "search": {
            "spaces": {
                "training.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
                "training.epochs": [1, 2, 3],
            },
            "trials": 4,
        },
    }
    moment = Moment(at="tasks.compare.desks:Results.add", call=2, when="before")
    results = []
    for name in ("killed", "whole"):
        home = Home(tmp_path / name, small_data, {"PREFECT_API_URL": prefect_api})
        if name == "killed":
            assert compare(home, values, moment=moment).returncode < 0
        results.append(printed(compare(home, values)))
    first, second = results
    assert [each["name"] for each in first["variants"]] == [each["name"] for each in second["variants"]]
    assert [each["value"] for each in first["variants"]] == [each["value"] for each in second["variants"]]
    assert first["chosen"] == second["chosen"]
    assert first["variants"][0]["name"] == "as it is"
    assert (first["test"], first["registered"]) == ({}, None)
    registered = printed(compare(home, {**values, "open_test": True, "register_chosen": True}))
    assert {each["state"] for each in registered["variants"]} <= {"cached", "pruned"}
    assert (registered["registered"]["name"], registered["registered"]["version"]) == ("search", "1")
    assert registered["test"]["test/accuracy"] > 0.5
    pictures = {file.name for file in (Path(first["folder"]) / "figures").glob("*.png")}
    assert {"front.png", "history.png", "values.png"} <= pictures
