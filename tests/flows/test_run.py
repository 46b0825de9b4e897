"""What a whole run leaves behind: files, the MLflow run, the registered model; and what a failed one does not."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from lib.data.parts import load_parts
from lib.data.tables import SPLITS, TOKENS
from lib.markdown import plain
from lib.training.history import read_history
from tests.support.e2e import STEPS, Home, copy_of, evaluations_told, experiment_id, ran, told_of
from tests.support.http_server import HttpServer, Reply
from tests.support.said import after_the_first_line

pytestmark = pytest.mark.e2e

FIGURES = ["accuracy", "confusion", "loss", "precision_recall", "reliability"]
SPLITTED = sorted(SPLITS)
FILES = {
    "download": ["data/source", "source.json"],
    "messages": ["files.json", "left_out.parquet", "lines.parquet", "messages/part-00000.parquet", "profile.json"],
    "balance": ["balanced/part-00000.parquet", "reserve/part-00000.parquet"],
    "split": ["split.json", *(f"{name}/part-00000.parquet" for name in SPLITTED)],
    "holdout": ["split.json", *(f"{name}/part-00000.parquet" for name in SPLITTED)],
    "tokenizer": ["network.json", "tokenizer.json", "tokenizer_config.json"],
    "tokenize": sorted(["tokens.json", *(f"{name}/part-00000.arrow" for name in ("reserve", *SPLITTED))]),
    "backbone": ["backbone.json", "config.json", "model.safetensors", "sanity.txt"],
    "features": ["features.json"],  # everything learns, so nothing is frozen
    "finetune": [
        "config.json",
        "cost.json",
        "history.parquet",
        "inference.json",
        "labels.json",
        "model.safetensors",
        "recipe.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
    ],
    "engine": ["engine.json", "engines.json"],  # torch in float32, which the recipe names
    "cross_validate": ["label_check.json", "suspects.parquet"],
    "evaluate": [
        "baseline.parquet",
        "drift_profile.json",
        *sorted(f"figures/{name}.{kind}" for name in FIGURES for kind in ("pdf", "png")),
        "findings.json",
        "metrics.json",
        "predictions/part-00000.parquet",
    ],
}


COMPARED = ["baseline/test/accuracy", "test/accuracy", "test/f1", "test/over_baseline"]
CURVES_ALONE = [
    *("epoch", "examples_seen", "learning_rate", "seconds", "tokens_seen"),
    *("train/loss", "validation/loss"),  # of the batches that an evaluation looks at
]
METRICS = sorted([*COMPARED, *CURVES_ALONE, "train/accuracy", "validation/accuracy"])


def tracking(home: Home) -> MlflowClient:
    return MlflowClient(f"sqlite:///{home.folder / 'mlflow.db'}")


def runs(home: Home) -> list[Run]:
    client = tracking(home)
    return list(client.search_runs([experiment_id(client, "finetune-classifier")], order_by=["attributes.start_time"]))


def test_the_store_holds_exactly_these_files(finished: tuple[Home, Any]) -> None:
    home, _ = finished
    found = {
        step: sorted(
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and path.name != "manifest.json"
        )
        for step, (folder,) in home.artifacts().items()
    }
    assert found == FILES


def test_tables_follow_their_contracts(finished: tuple[Home, Any]) -> None:
    home, _ = finished
    folders = {step: folder for step, (folder,) in home.artifacts().items()}
    split = {name: pd.read_parquet(folders["split"] / name) for name in SPLITS}
    assert {name: len(table) for name, table in split.items()} == {"train": 280, "validation": 40, "test": 80}
    assert list(split["train"].columns) == ["id", "text", "label", "target", "near_high", "near_low", "exact"]
    assert set(split["test"].groupby("label")["target"].first().items()) == {("ham", 0), ("spam", 1)}
    tokens = load_parts(folders["tokenize"] / "train", TOKENS)
    assert len(tokens) == 280
    history = pd.read_parquet(folders["finetune"] / "history.parquet")
    assert " ".join(history.columns) == (
        "step epoch examples_seen tokens_seen seconds learning_rate"
        " train_loss validation_loss train_accuracy validation_accuracy"
    )
    predictions = pd.read_parquet(folders["evaluate"] / "predictions")
    assert list(predictions.columns) == (
        ["split", "id", "text", "label", "predicted", "probability_ham", "probability_spam"]
    )
    assert len(predictions) == 400


def test_the_mlflow_run_holds_recipe_curves_metrics_figures_and_links(
    finished: tuple[Home, Any], tmp_path: Path
) -> None:
    home, result = finished
    (run,) = runs(home)
    client = tracking(home)
    assert run.info.run_id == result["mlflow_run"]
    assert run.info.status == "FINISHED"
    assert re.fullmatch(r"\d\d-\d\d \d\d:\d\d:\d\d quick", run.info.run_name)
    assert run.data.params["training.learning_rate"] == "0.001"
    assert run.data.params["split.group_duplicates"] == "True"
    assert run.data.tags["prefect.flow_run_id"] == result["flow_run"]
    assert result["flow_run"] in run.data.tags["prefect.flow_run_url"]
    flow_run = httpx.get(f"{home.environment['PREFECT_API_URL']}/flow_runs/{result['flow_run']}").json()
    assert flow_run["name"] == run.info.run_name
    assert run.data.tags["finetune.source_run"] == run.info.run_id
    assert re.match("(not )?kept: ", run.data.tags["finetune.features"])
    for step in result["steps"]:
        if step["artifact"]:
            assert run.data.tags[f"artifact.{step['step']}"] == step["artifact"]["digest"]
    history = pd.read_parquet(home.artifacts()["finetune"][0] / "history.parquet")
    logged = client.get_metric_history(run.info.run_id, "validation/loss")
    assert sorted(zip(history["step"], history["validation_loss"], strict=True)) == sorted(
        (metric.step, metric.value) for metric in logged
    )
    assert sorted(run.data.metrics) == METRICS
    # Also where a curve has the same name: its last point is what the kept classifier measured on the whole split.
    both = run.data.metrics.keys() & result["metrics"].keys()
    assert {name: run.data.metrics[name] for name in both} == {name: result["metrics"][name] for name in both}
    assert set(METRICS) - both == {*CURVES_ALONE}
    table = client.download_artifacts(run.info.run_id, "all_metrics.json", str(tmp_path))
    assert dict(json.loads(Path(table).read_text())["data"]) == pytest.approx(result["metrics"], abs=1e-9)
    assert run.data.tags["mlflow.note.content"].startswith(plain(" ".join(result["verdict"])))
    assert f"{result['metrics']['test/accuracy']:.2%}" in result["verdict"][0]
    assert run.data.tags["finetune.verdict"].startswith("better than ")
    page = Path(result["report"])
    assert page == home.folder / "reports" / f"{run.info.run_id}.html"
    assert Path(client.download_artifacts(run.info.run_id, "report.html")).read_bytes() == page.read_bytes()
    assert all(fact in page.read_text() for fact in (run.info.run_name, run.info.run_id, result["flow_run"]))
    assert [point.step for point in client.get_metric_history(run.info.run_id, "test/accuracy")] == [0]
    for split in ("train", "validation"):
        points = client.get_metric_history(run.info.run_id, f"{split}/accuracy")
        assert [point.value for point in points if point.step == 0] == [history[f"{split}_accuracy"].iloc[0]]
    assert {"test/f1", "test/mcc", "test/roc_auc", "test/log_loss", "baseline/test/accuracy"} <= set(result["metrics"])
    assert run.data.metrics["test/over_baseline"] == pytest.approx(
        run.data.metrics["test/accuracy"] - run.data.metrics["baseline/test/accuracy"]
    )
    assert run.data.tags["finetune.computed"] == ", ".join([*STEPS, "register"])
    assert run.inputs is not None
    assert {i.dataset.name for i in run.inputs.dataset_inputs} == {"file-train", "file-validation", "file-test"}
    logged_files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {
        "figures",
        "report.html",
        "recipe.yaml",
        "metrics.json",
        "profile.json",
        "suspects.parquet",
        "sanity.txt",
    } <= logged_files
    figures = {file.path for file in client.list_artifacts(run.info.run_id, "figures")}
    assert figures == {f"figures/{name}.{kind}" for name in FIGURES for kind in ("pdf", "png")}


def test_prefects_log_has_one_line_for_each_evaluation(finished: tuple[Home, Any]) -> None:
    home, result = finished
    history = read_history(home.artifacts()["finetune"][0] / "history.parquet")
    told = evaluations_told(home.environment["PREFECT_API_URL"], result)
    measured = [f"{split}_{measure}" for split in ("train", "validation") for measure in ("loss", "accuracy")]
    assert told == told_of(history[["step", "epoch", *measured]])
    assert re.fullmatch(
        r"step 0, epoch 0\.\d\d: train loss \d\.\d{3}, train accuracy \d+\.\d\d%,"
        r" validation loss \d\.\d{3}, validation accuracy \d+\.\d\d%",
        told[0],
    )


def test_nothing_is_pickled(finished: tuple[Home, Any]) -> None:
    home, _ = finished
    kept = [path for path in home.folder.rglob("*") if path.is_file() and ".results" not in path.parts]
    assert [path for path in kept if path.suffix in {".pkl", ".pickle", ".pt", ".bin", ".joblib"}] == []
    # Protocol 2 and later begin with this byte and their number.
    assert [path for path in kept if path.read_bytes()[:2] in {bytes([0x80, n]) for n in range(2, 6)}] == []


def test_a_cached_run_says_so_and_adds_no_curves_and_registers_nothing_new(again: tuple[Home, Any]) -> None:
    home, result = again[0], json.loads(again[1].stdout)
    first, second = runs(home)
    client = tracking(home)
    assert second.data.tags["finetune.source_run"] == first.info.run_id
    assert sorted(second.data.metrics) == COMPARED
    assert {name: second.data.metrics[name] for name in COMPARED} == {
        name: first.data.metrics[name] for name in COMPARED
    }
    assert second.data.tags["finetune.computed"] == "nothing"
    assert re.fullmatch(r"\d\d-\d\d \d\d:\d\d:\d\d cached quick", second.info.run_name)
    flow_run = httpx.get(f"{home.environment['PREFECT_API_URL']}/flow_runs/{result['flow_run']}").json()
    assert flow_run["name"] == second.info.run_name
    note = second.data.tags["mlflow.note.content"]
    measured = f"[{first.info.run_name}](#/experiments/1/runs/{first.info.run_id}?workflowType=machine_learning)"
    assert f"Nothing was measured anew: {measured} measured this." in note
    assert f"[Loss and accuracy while training](#/metric?runs=%5B%22{first.info.run_id}" in note
    assert "Nothing was measured anew" not in first.data.tags["mlflow.note.content"]
    assert result["registered"]["version"] == "1"
    assert result["registered"]["new"] is False
    assert len(client.search_model_versions("name = 'e2e'")) == 1
    assert "found all of it and computed nothing new" in Path(result["report"]).read_text()


def test_the_first_version_is_champion_and_the_next_only_challenger(retrained: tuple[Home, Any]) -> None:
    home, result = retrained
    assert result["registered"]["version"] == "2"
    assert result["registered"]["aliases"] == ["challenger"]
    aliases = tracking(home).get_registered_model("e2e").aliases
    assert {alias: str(version) for alias, version in aliases.items()} == {"champion": "1", "challenger": "2"}
    description = str(tracking(home).get_registered_model("e2e").description)
    assert description.startswith("Classifies texts as ham or spam.")
    version = tracking(home).get_model_version("e2e", "2")
    assert str(version.description).startswith(plain(" ".join(result["verdict"])))
    assert "version 1 (" in result["verdict"][1]  # compared with the champion, and what came of it
    assert result["verdict"][1].endswith(", which stays champion.")


def test_a_first_version_that_something_simple_beats_is_registered_only(copied: Home) -> None:
    untrained = ("--registry.name=weak", "--training.learning_rate=1e-7", "--training.epochs=1")
    done = copied.call(*copied.arguments(*untrained))
    assert done.returncode == 0, done.stderr
    client = tracking(copied)
    run = client.search_runs([experiment_id(client, "finetune-classifier")])[0]
    accuracy, baseline = run.data.metrics["test/accuracy"], run.data.metrics["baseline/test/accuracy"]
    assert f"{baseline:.2%}; this classifier is {100 * (accuracy - baseline):+.2f} points away" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("below baseline: not made champion, ")]
    assert f"accuracy {accuracy:.2%} on the frozen test set, the majority class 75.00%, TF-IDF {baseline:.2%}" in line
    assert list(client.get_registered_model("weak").aliases) == ["challenger"]
    assert copied.call("promote", "1", "--name", "weak").returncode == 0
    assert "champion" in client.get_registered_model("weak").aliases


def test_an_old_recipe_run_again_is_no_challenger_of_newer_ones(retrained: tuple[Home, Any], tmp_path: Path) -> None:
    home = copy_of(retrained[0], tmp_path / "home")
    result = home.run()
    assert (result["registered"]["version"], result["registered"]["aliases"]) == ("1", ["champion"])
    aliases = tracking(home).get_registered_model("e2e").aliases
    assert {alias: str(version) for alias, version in aliases.items()} == {"champion": "1", "challenger": "2"}


def test_the_same_weights_with_another_length_are_another_version(finished: tuple[Home, Any], copied: Home) -> None:
    length = json.loads((copied.artifacts()["tokenize"][0] / "tokens.json").read_text())["max_length"]
    result = copied.run(f"--encoding.max_length={length + 100}")
    weights = {(folder / "model.safetensors").read_bytes() for folder in copied.artifacts()["finetune"]}
    assert len(weights) == 1  # padding is per batch, so a length that cuts nothing trains the same classifier
    assert (result["registered"]["version"], result["registered"]["new"]) == ("2", True)


def test_the_curve_is_part_of_what_an_evaluation_depends_on(finished: tuple[Home, Any]) -> None:
    (folder,) = finished[0].artifacts()["finetune"]
    history = pd.read_parquet(folder / "history.parquet").drop(columns="seconds")
    facts = json.loads((folder / "training.json").read_text())
    assert facts["history_sha256"] == hashlib.sha256(history.to_csv().encode()).hexdigest()
    manifest = json.loads((folder / "manifest.json").read_text())
    noted = {file["name"] for file in manifest["files"] if file["noted"]}
    assert noted == {"cost.json", "history.parquet", "recipe.json"}


def test_predict_answers_from_the_champion_and_from_a_run(finished: tuple[Home, Any]) -> None:
    home, result = finished
    lines = []
    for choice in (["--name", "e2e"], ["--run", result["mlflow_run"]]):
        done = home.call("predict", "--json", *choice, "You are a winner, claim your prize now")
        assert done.returncode == 0, done.stderr
        lines.append(json.loads(done.stdout))
    assert lines[0] == lines[1]
    assert set(lines[0]) == {"text", "label", "threshold", "probability_ham", "probability_spam"}
    assert lines[0]["probability_ham"] + lines[0]["probability_spam"] == pytest.approx(1)
    done = home.call("predict", "--name", "nobody", "hello")
    assert (done.returncode, after_the_first_line(done.stderr)) == (
        2,
        "error: nobody has no champion: those with one are e2e\n",
    )


@pytest.fixture
def http() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


def one_sentence(home: Home, *arguments: str) -> str:
    """The error of a run that must fail: one line, no traceback, exit status 2."""
    done = home.call(*home.arguments(*arguments))
    assert done.returncode == 2, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return errors[0]


def test_a_bad_file_is_one_sentence_and_the_mlflow_run_failed(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_bytes(b"kind,body\nham,hello\nspam,caf\xe9\n")
    error = one_sentence(home, f"--data.url={file}", "--data.encoding=utf-8")
    assert "byte 28" in error
    (run,) = runs(home)
    assert run.info.status == "FAILED"
    assert "byte 28" in run.data.tags["finetune.error"]
    assert tracking(home).search_registered_models() == []
    assert list((home.folder / "store" / "messages").iterdir()) == []


def test_a_404_is_not_retried_and_says_what_to_fetch(home: Home, http: HttpServer) -> None:
    url = http.serve("/gone.csv", Reply(status=404))
    error = one_sentence(home, f"--data.url={url}", f"--data.sha256={'0' * 64}")
    assert "404" in error
    assert "data.url" in error
    assert len(http.seen("/gone.csv")) == 1


def test_a_server_that_fails_once_is_asked_again(copied: Home, http: HttpServer, small_data: Path) -> None:
    shutil.rmtree(copied.folder / "store" / "download")
    content = small_data.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    url = http.serve("/small.csv", Reply(status=503), Reply(body=content))
    result = copied.run(f"--data.url={url}", f"--data.sha256={sha256}")
    assert ran(result) == ["download"]  # the same bytes from elsewhere: everything after it is reused
    assert len(http.seen("/small.csv")) == 2


def test_three_classes_from_gzipped_json_lines_over_http(home: Home, http: HttpServer, small_data: Path) -> None:
    table = pd.read_csv(small_data)
    table.loc[table.index % 5 == 0, "kind"] = "offer / résumé"
    lines = table.rename(columns={"body": "message", "kind": "topic"}).to_json(orient="records", lines=True)
    url = http.serve("/messages.jsonl.gz", Reply(body=gzip.compress(lines.encode())))
    result = home.run(
        f"--data.url={url}",
        "--data.format=null",
        "--data.text_column=message",
        "--data.label_column=topic",
        "--balance.method=class_weights",
        "--training.epochs=1",
    )
    assert ran(result) == STEPS
    (folder,) = home.artifacts()["finetune"]
    labels = json.loads((folder / "labels.json").read_text())
    assert labels == ["ham", "offer / résumé", "spam"]
    done = home.call("predict", "--json", "--run", result["mlflow_run"], "hello there")  # too weak a champion
    assert {"probability_ham", "probability_offer / résumé", "probability_spam"} < set(json.loads(done.stdout))


def test_without_any_server_a_run_works_and_its_pages_come_from_the_same_files(copied: Home) -> None:
    alone = replace(copied, environment={"PREFECT_HOME": str(copied.folder / "prefect")})
    result = alone.run()
    assert ran(result) == []
    assert (copied.folder / "prefect" / "prefect.db").is_file()
    assert runs(copied)[-1].info.run_id == result["mlflow_run"]
    page = runs(copied)[-1].data.tags["prefect.flow_run_url"]
    assert page == f"http://127.0.0.1:4200/runs/flow-run/{result['flow_run']}"  # where `make ui` will show it


def test_the_run_that_was_killed_is_closed_by_the_next(copied: Home) -> None:
    client = tracking(copied)
    (first,) = runs(copied)
    client.update_run(first.info.run_id, status="RUNNING")
    client.set_tag(first.info.run_id, "finetune.process", "999999999@0.00")
    copied.run()
    assert [run.info.status for run in runs(copied)] == ["FAILED", "FINISHED"]
