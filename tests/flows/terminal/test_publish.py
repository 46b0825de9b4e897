"""Publishing is whole or not at all: what is left in a real registry when a later part fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from lib.evaluation.classify.calibration import Scaling
from lib.inference.predictor import Predictor
from tasks.record.mlflow_run import RefusedNameError
from tasks.registry import promote as promoting
from tasks.registry.candidates import classifier_candidate
from tasks.registry.champions import CHAMPIONS_TAG
from tasks.registry.frozen import FROZEN_TAG
from tests.support.e2e import experiment_id
from tests.support.publishing import EXPERIMENT, artifacts, deciding, publish, recipe, run_of

pytestmark = pytest.mark.e2e


def logged_models(tracking: MlflowClient) -> int:
    return len(tracking.search_logged_models([experiment_id(tracking, EXPERIMENT)]))


def refused(*arguments: Any) -> None:
    raise RefusedNameError("no such name")


def test_a_refused_promotion_leaves_no_version_and_no_model(
    published: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = logged_models(published)
    monkeypatch.setattr(promoting, "_write", refused)
    with pytest.raises(RefusedNameError):
        publish(run_of(published), recipe("another"), artifacts())
    assert published.search_model_versions("name = 'another'") == []
    assert published.get_registered_model("another").aliases == {}
    assert FROZEN_TAG not in published.get_registered_model("another").tags
    assert logged_models(published) == before


def test_a_promotion_that_mlflow_fails_keeps_its_version_for_the_next_delivery(published: MlflowClient) -> None:
    with pytest.raises(MlflowException, match="99"):
        publish(run_of(published), recipe("undecided"), artifacts(), version="99")
    (version,) = published.search_model_versions("name = 'undecided'")
    assert published.get_registered_model("undecided").aliases == {}
    promoted = publish(run_of(published), recipe("undecided"), artifacts())
    assert (promoted.version, promoted.new, promoted.promotion) == (str(version.version), False, "first")


def test_a_failed_promotion_keeps_a_version_that_was_there_before(published: MlflowClient) -> None:
    with pytest.raises(MlflowException, match="99"):
        publish(run_of(published), recipe("e2e"), artifacts(), version="99")
    (version,) = published.search_model_versions("name = 'e2e'")
    assert str(version.version) == "1"
    assert {str(v) for v in published.get_registered_model("e2e").aliases.values()} == {"1"}
    assert set(published.get_registered_model("e2e").aliases) == {"champion", "challenger"}


def written_and_lost(*arguments: Any) -> None:
    write(*arguments)
    raise ConnectionError("Prefect is gone")


def written_and_refused(*arguments: Any) -> None:
    write(*arguments)
    refused()


write = promoting._write


def test_a_page_that_prefect_does_not_take_undoes_no_promotion(
    published: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lost(*arguments: object, **named: object) -> None:
        raise ConnectionError("Prefect is gone")

    monkeypatch.setattr(promoting, "create_markdown_artifact", lost)
    registered = publish(run_of(published), recipe("pageless"), artifacts())
    assert (registered.promotion, registered.aliases) == ("first", ["challenger", "champion"])
    assert "Prefect does not show what became of the version (Prefect is gone)" in caplog.text


def test_a_promotion_refused_at_its_very_end_is_taken_back_whole(
    published: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, models = published.get_registered_model("e2e"), logged_models(published)
    with monkeypatch.context() as patched:
        patched.setattr(promoting, "_write", written_and_refused)  # the last thing that a promotion does
        for name in ("e2e", "another"):
            # Another threshold makes another version; under `e2e` it is compared with the champion first.
            with pytest.raises(RefusedNameError):
                publish(run_of(published), recipe(name), deciding(artifacts(), tmp_path / name, threshold=0.6))
    after = published.get_registered_model("e2e")
    assert (after.aliases, after.tags) == (before.aliases, before.tags)
    assert len(published.search_model_versions("name = 'e2e'")) == 1
    another = published.get_registered_model("another")
    assert another.aliases == {}
    assert not {FROZEN_TAG, CHAMPIONS_TAG} & another.tags.keys()
    assert logged_models(published) == models


def test_a_version_that_was_only_registered_stays_so_when_its_promotion_fails(
    published: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(run_of(published), recipe("later", registry__promote="never"), artifacts())
    before = published.get_model_version("later", "1")
    with monkeypatch.context() as patched:
        patched.setattr(promoting, "_write", written_and_lost)
        with pytest.raises(ConnectionError, match="Prefect is gone"):
            publish(run_of(published), recipe("later"), artifacts())
    after = published.get_model_version("later", "1")
    assert (after.tags, after.aliases) == (before.tags, ["challenger"])
    assert publish(run_of(published), recipe("later"), artifacts()).promotion == "first"


def test_a_run_that_fails_just_after_its_promotion_leaves_the_old_champion(
    published: MlflowClient, tmp_path: Path
) -> None:
    before = published.get_registered_model("e2e")
    with pytest.raises(ConnectionError, match="Prefect is gone"):
        publish(run_of(published), recipe("e2e"), deciding(artifacts(), tmp_path / "strict", threshold=0.6), lost=True)
    after = published.get_registered_model("e2e")
    assert (after.aliases, after.tags) == (before.aliases, before.tags)
    assert len(published.search_model_versions("name = 'e2e'")) == 1
    with pytest.raises(ConnectionError, match="Prefect is gone"):
        publish(run_of(published), recipe("another"), artifacts(), lost=True)
    assert published.search_model_versions("name = 'another'") == []
    another = published.get_registered_model("another")
    assert (another.aliases, {FROZEN_TAG, CHAMPIONS_TAG} & another.tags.keys()) == ({}, set())


def test_the_same_classifier_under_another_name_is_a_first_version_there(published: MlflowClient) -> None:
    registered = publish(run_of(published), recipe("another"), artifacts())
    assert (registered.version, registered.new, registered.aliases) == ("1", True, ["challenger", "champion"])
    again = publish(run_of(published), recipe("another"), artifacts())
    assert (again.new, again.aliases, again.promotion) == (False, ["challenger", "champion"], "first")


@pytest.mark.usefixtures("published")
def test_what_was_decided_goes_with_the_model_and_makes_it_another(tmp_path: Path) -> None:
    made, scaling = artifacts(), Scaling(2.0, at_the_end=False)
    decisions: dict[str, dict[str, Any]] = {"plain": {}, "strict": {"threshold": 0.6}, "scaled": {"scaling": scaling}}
    candidates = {
        name: classifier_candidate(recipe("e2e"), deciding(made, tmp_path / name, **decision))
        for name, decision in decisions.items()
    }
    assert len({each.identity for each in candidates.values()}) == len(candidates)
    served = {name: each.collect(tmp_path / f"served {name}") for name, each in candidates.items()}
    loaded = {name: Predictor.load(folder, device="cpu") for name, folder in served.items()}
    assert {name: (each.threshold, each.temperature) for name, each in loaded.items()} == {
        "plain": (0.5, 1.0), "strict": (0.6, 1.0), "scaled": (0.5, 2.0),
    }  # fmt: skip
    assert "temperature" not in json.loads((served["plain"] / "inference.json").read_text())
    odds = [next(loaded[name].predict(["free prize"])).probabilities for name in ("plain", "scaled")]
    plain, scaled = (each["spam"] / each["ham"] for each in odds)
    assert scaled == pytest.approx(plain**0.5)
