"""Situations that people really meet around a run: a moved home, a deleted champion, a loss that is no number, long
values, odd names of labels, what clients send."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from mlflow import MlflowClient
from prefect.server.schemas.schedules import CronSchedule

from tests.support.cases import case
from tests.support.e2e import Home, copy_of, experiment_id, ran
from tests.support.serving import started

pytestmark = pytest.mark.e2e

LABELS = 50  # messages of each label in 29-odd-label-names


def tracking(home: Home) -> MlflowClient:
    return MlflowClient(f"sqlite:///{home.folder / 'mlflow.db'}")


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that failed said: one line, no traceback."""
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_a_moved_home_answers_reuses_everything_and_writes_into_its_new_place(
    finished: tuple[Home, Any], tmp_path: Path
) -> None:
    old = copy_of(finished[0], tmp_path / "a")
    assert old.call("predict", "see you at home").returncode == 0  # now its addresses are those of the copy
    old.folder.rename(tmp_path / "b")
    moved = replace(old, folder=tmp_path / "b")
    answered = moved.call("predict", "see you at home")
    assert answered.returncode == 0, answered.stderr
    assert ran(moved.run("--json")) == []
    assert not old.folder.exists()
    client = tracking(moved)
    for run in client.search_runs([experiment_id(client, "finetune-classifier")]):
        assert str(run.info.artifact_uri).startswith(moved.folder.as_uri())
        assert "name: quick" in Path(client.download_artifacts(run.info.run_id, "recipe.yaml")).read_text()


def test_a_deleted_champion_is_named_and_the_next_run_makes_another(copied: Home) -> None:
    client = tracking(copied)
    client.delete_model_version("e2e", client.get_model_version_by_alias("e2e", "champion").version)
    for said in (copied.call("predict", "see you"), copied.call("rollback", "--name", "e2e")):
        assert one_sentence(said).endswith(": fine-tune one first")
    result = copied.run("--json")
    assert ran(result) == []
    assert result["registered"]["promotion"] == "first"
    assert str(client.get_model_version_by_alias("e2e", "champion").version) == result["registered"]["version"]


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_nothing_to_reuse(copied: Home) -> None:
    flags = ("--training.learning_rate=1e6", "--training.epochs=3", "--registry.name=never")
    for _ in range(2):
        done = copied.call(*copied.arguments(*flags))
        assert re.search(r"step \d+.*lower training.learning_rate", one_sentence(done)), done.stderr
    client = tracking(copied)
    assert not client.search_registered_models("name = 'never'")
    (latest, *_) = client.search_runs([experiment_id(client, "finetune-classifier")])
    assert latest.info.status == "FAILED"


def test_long_values_are_kept_whole_or_refused_before_training(home: Home) -> None:
    nowhere = [f"/nowhere/{'very-long-folder-name/' * 4}{number}.csv" for number in range(70)]
    (file := home.folder.parent / "mine.csv").write_bytes(home.data.read_bytes())
    long = replace(home, data=Path("unused"))
    result = json.loads(
        long.call(
            *long.arguments("--json", f"--data.url={json.dumps([*nowhere, str(file)])}", "--training.epochs=1")
        ).stdout.splitlines()[-1]
    )
    recipe = tracking(home).download_artifacts(result["mlflow_run"], "recipe.yaml")
    assert all(address in Path(recipe).read_text() for address in nowhere)
    named = home.call(*home.arguments(f"--name={'long name ' * 30}\N{ROCKET}", f"--registry.name={'n' * 300}"))
    assert "registry.name" in one_sentence(named)
    assert home.artifacts()["finetune"] == home.artifacts()["finetune"][:1]  # nothing was trained for it


def test_odd_names_of_labels_are_whole_everywhere(home: Home) -> None:
    odd = replace(home, data=case("29-odd-label-names", "odd.csv"))
    flags = ("--data.text_column=text", "--data.label_column=label", "--registry.name=odd", "--training.epochs=6")
    result = odd.run(*flags)
    table = pd.read_csv(odd.data, dtype=str, keep_default_na=False)
    labels = set(table["label"])
    assert (len(labels), set(table["label"].value_counts())) == (7, {LABELS})
    evaluated = Path(next(step["artifact"]["folder"] for step in result["steps"] if step["step"] == "evaluate"))
    predictions = pd.read_parquet(evaluated / "predictions")
    assert set(predictions["label"]) == labels
    assert {f"probability_{label}" for label in labels} < set(predictions.columns)
    report = Path(result["report"]).read_text()
    assert not re.search(r"<(b|script)>(?!</)", report.partition("<body")[2])
    with started(odd, "--name", "odd") as server:
        (row,) = server.http.post("/invocations", json={"inputs": [table["text"][0]]}).json()["predictions"]
        assert {name.removeprefix("probability_") for name in row if name.startswith("probability_")} == labels
        assert "<b>" not in server.http.get("/").text


def test_what_clients_send_is_answered_or_refused_in_a_sentence(copied: Home) -> None:
    script = case("40-requests", "requests.sh")
    with started(copied) as server:
        done = subprocess.run(
            ["bash", str(script), str(server.http.base_url)], capture_output=True, text=True, check=True
        )
        assert server.http.get("/ping").status_code == 200
    asked = [part.strip().splitlines() for part in done.stdout.split("== ")[1:]]
    assert len(asked) == 18
    for name, *body, status in asked:
        assert status in re.findall(r"\b[245]\d\d\b", name.partition("(expected")[2]), (name, body, status)
        assert "Traceback" not in " ".join(body)
        if status != "200":
            assert json.loads(" ".join(body))["message"], (name, body)


@pytest.mark.parametrize("changes", [datetime(2026, 3, 29), datetime(2026, 10, 25)], ids=["to summer", "to winter"])
def test_around_a_change_of_the_clock_a_nightly_run_is_planned_once_a_day(changes: datetime) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    schedule = CronSchedule(cron="30 2 * * *", timezone="Europe/Berlin")  # a time that one of these nights has not
    begins = (changes - timedelta(days=2)).replace(tzinfo=berlin)
    planned = asyncio.run(schedule.get_dates(n=5, start=begins))
    days = [moment.astimezone(berlin).date() for moment in planned]
    assert days == [(begins + timedelta(days=day)).date() for day in range(5)]
