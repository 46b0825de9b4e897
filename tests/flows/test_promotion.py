"""Who becomes champion, in a real registry with a real Prefect server, from classifiers with known answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from mlflow import MlflowClient

from flows.terminal.champion import promote_command, rollback_command
from lib.data.duplicates import normalise
from lib.data.parts import load_parts
from lib.data.tables import SPLIT, TOKENS
from lib.errors import ServiceError
from tasks.environment import home as home_folder
from tasks.registry import decide as deciding
from tasks.registry.challenge import Answers, challenge
from tasks.registry.frozen import frozen_test, frozen_texts, load_frozen
from tests.support.e2e import STEPS, Home, ran
from tests.support.publishing import artifacts, decision, publish, recipe, run_of, variant

pytestmark = pytest.mark.e2e

ALWAYS_HAM, ALWAYS_SPAM = (1000.0, 0.0), (0.0, 1000.0)


def aliases(tracking: MlflowClient, name: str) -> dict[str, str]:
    return {alias: str(version) for alias, version in tracking.get_registered_model(name).aliases.items()}


def page(api: str) -> str:
    """The latest page about a promotion on Prefect's server."""
    answer = httpx.post(
        f"{api}/artifacts/filter",
        json={"artifacts": {"key": {"any_": ["promotion"]}}, "sort": "CREATED_DESC", "limit": 1},
    )
    return str(answer.raise_for_status().json()[0]["data"])


def test_the_first_is_champion_and_its_test_split_is_the_names_frozen_test_set(
    finished: tuple[Home, Any], published: MlflowClient
) -> None:
    _, result = finished
    assert result["registered"]["promotion"] == "first"
    (version,) = published.search_model_versions("name = 'e2e'")
    told = published.get_model_version("e2e", version.version).tags
    assert told["finetune.promotion"] == "first"
    assert float(told["finetune.promotion.accuracy"]) == pytest.approx(result["metrics"]["test/accuracy"], abs=1e-5)
    assert float(told["finetune.promotion.majority/accuracy"]) == 0.75
    baseline = result["metrics"]["baseline/test/accuracy"]
    assert float(told["finetune.promotion.baseline/accuracy"]) == pytest.approx(baseline, abs=1e-5)
    frozen = frozen_test(published, "e2e")
    assert frozen is not None
    assert frozen.run == result["mlflow_run"]
    assert told["finetune.promotion.frozen_test"] == frozen.sha256
    test = load_parts(artifacts()["split"].file("test"), SPLIT)
    assert load_frozen(published, frozen, "e2e")["text"].tolist() == test["text"].tolist()


def test_the_frozen_test_set_comes_from_mlflow_where_this_machine_has_no_copy(published: MlflowClient) -> None:
    texts = frozen_texts("e2e")
    assert texts
    assert frozen_texts("nobody") == []
    (copy,) = (home_folder() / "frozen").glob("*.parquet")
    copy.write_bytes(b"damaged")
    assert frozen_texts("e2e") == texts
    shutil.rmtree(copy.parent)
    assert frozen_texts("e2e") == texts
    shutil.rmtree(copy.parent)
    frozen = frozen_test(published, "e2e")
    assert frozen is not None
    elsewhere = frozen.model_copy(update={"run": "0" * 32})
    with pytest.raises(
        ServiceError, match=r"the frozen test set of 'e2e', frozen/test.parquet of MLflow's run 0+, cannot"
    ):
        load_frozen(published, elsewhere, "e2e")


def test_what_evaluations_have_is_not_predicted_again(
    published: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def ask(candidate: Any, texts: list[str], device: str, champion: str = "", more: Sequence[str] = ()) -> Answers:
        asked.append((len(texts), len(more)))
        return challenge.fn(candidate, texts, device, champion or None, more)

    monkeypatch.setattr(deciding, "challenge", ask)
    run, made = run_of(published), artifacts()
    first = publish(run, recipe("same"), made)
    assert asked == []  # all 80 messages are the challenger's own test split
    later = publish(run, recipe("same"), variant(made, tmp_path / "spam", bias=ALWAYS_SPAM))
    assert asked == [(80, 0)]  # of another classifier than the evaluation's; the champion's evaluation is in the store
    published.delete_tag(run, "artifact.evaluate")  # and it is not known any more which one that is
    again = publish(run, recipe("same"), variant(made, tmp_path / "x" / "ham", bias=ALWAYS_HAM))
    assert asked[1:] == [(80, 80)]
    assert [each.promotion for each in (first, later, again)] == ["first", "kept", "kept"]
    told = [decision(published, each) for each in (later, again)]
    assert told[0]["champion/accuracy"] == told[1]["champion/accuracy"] == decision(published, first)["accuracy"]


def test_better_is_promoted_beside_its_numbers_and_rolled_back_by_hand(
    published: MlflowClient, prefect_api: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, made = run_of(published), artifacts()
    chosen = recipe("better", evaluation__baseline=False, registry__max_false_positive_increase=1)
    publish(run, chosen, variant(made, tmp_path / "ham", bias=ALWAYS_HAM))
    registered = publish(run, chosen, made)
    assert (registered.version, registered.promotion, registered.aliases) == (
        "2",
        "promoted",
        ["challenger", "champion"],
    )
    told = decision(published, registered)
    assert (told[""], told["champion"]) == ("promoted", "1")
    # The champion knows no spam: 60 of 80 are right, and none is a false alarm.
    assert (told["champion/accuracy"], told["champion/false_positive_rate"]) == ("0.75", "0")
    gained = round((float(told["accuracy"]) - 0.75) * 80)
    assert int(told["wins"]) - int(told["losses"]) == gained > 5
    assert float(told["p_value"]) <= 0.05
    assert page(prefect_api).startswith("# better version 2 is the new champion\n")

    # The same two again change nothing, and neither does the page.
    for made_again, promotion in (
        (made, "promoted"),
        (variant(made, tmp_path / "x" / "ham", bias=ALWAYS_HAM), "first"),
    ):
        again = publish(run, chosen, made_again)
        assert (again.new, again.promotion) == (False, promotion)
    assert aliases(published, "better") == {"champion": "2", "challenger": "2"}

    assert rollback_command(["--name", "better"]) == 0
    assert capsys.readouterr().out == "better: version 1 is the champion now, it was version 2\n"
    assert aliases(published, "better") == {"champion": "1", "challenger": "2"}
    assert publish(run, chosen, made).aliases == ["challenger"]  # a run of the same recipe does not undo it
    with pytest.raises(ServiceError, match="'better' has nothing to roll back to: version 1 is its first champion"):
        rollback_command(["--name", "better"])
    assert promote_command(["2", "--name", "better", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "better", "before": "1", "champion": "2"}
    with pytest.raises(ServiceError, match="'better' has no version 7: there is 1, 2"):
        promote_command(["7", "--name", "better"])
    record = json.loads(published.get_registered_model("better").tags["finetune.champions"])
    assert [(reign["version"], reign["why"]) for reign in record] == [
        ("1", "first"),
        ("2", "promoted"),
        ("1", "rollback"),
        ("2", "by hand"),
    ]
    assert all(reign["since"].endswith("+00:00") for reign in record)


def test_a_tie_and_a_worse_one_stay_challenger(published: MlflowClient, prefect_api: str, tmp_path: Path) -> None:
    run, made = run_of(published), artifacts()
    longer = json.loads(made["finetune"].file("inference.json").read_text())
    longer["max_length"] += 100
    same = variant(made, tmp_path / "longer")
    same["finetune"].file("inference.json").write_text(json.dumps(longer))
    tie = publish(run, recipe("e2e"), same)
    told = decision(published, tie)
    assert (tie.new, told[""], told["wins"], told["losses"], told["p_value"]) == (True, "kept", "0", "0", "1")
    assert told["accuracy"] == told["champion/accuracy"]

    worse = publish(run, recipe("e2e"), variant(made, tmp_path / "spam", bias=ALWAYS_SPAM))
    told = decision(published, worse)
    assert (told[""], told["accuracy"], told["false_positive_rate"]) == ("kept", "0.25", "1")
    assert int(told["losses"]) > int(told["wins"])
    for claim in ("beyond noise", "within the false-positive rate allowed", "better than the TF-IDF baseline"):
        assert claim in told["why"]
    assert "- **not** better than the champion beyond noise" in page(prefect_api)
    assert aliases(published, "e2e") == {"champion": "1", "challenger": worse.version}


def test_a_better_one_with_more_false_alarms_than_allowed_stays_challenger(
    published: MlflowClient, tmp_path: Path
) -> None:
    run, made = run_of(published), artifacts()
    chosen = recipe("careful", evaluation__baseline=False, evaluation__positive_label="ham")
    publish(run, chosen, variant(made, tmp_path / "spam", bias=ALWAYS_SPAM))  # never says ham: no false alarm
    assert promote_command(["1", "--name", "careful"]) == 0  # it is worse than the majority class
    told = decision(published, publish(run, chosen, made))
    assert told[""] == "kept"
    assert float(told["p_value"]) <= 0.05
    assert float(told["false_positive_rate"]) > float(told["champion/false_positive_rate"]) == 0
    assert told["why"].startswith("not within the false-positive rate allowed: ")
    assert aliases(published, "careful") == {"champion": "1", "challenger": "2"}


def test_never_only_registers_until_the_recipe_says_better(published: MlflowClient) -> None:
    run, made = run_of(published), artifacts()
    registered = publish(run, recipe("quiet", registry__promote="never"), made)
    assert (registered.promotion, registered.aliases) == ("never", ["challenger"])
    assert frozen_test(published, "quiet") is not None
    assert publish(run, recipe("quiet", registry__promote="never"), made).promotion == "never"
    later = publish(run, recipe("quiet"), made)
    assert (later.version, later.new, later.promotion) == ("1", False, "first")
    assert aliases(published, "quiet") == {"champion": "1", "challenger": "1"}


def test_what_cannot_be_compared_stays_challenger_and_says_why(published: MlflowClient, tmp_path: Path) -> None:
    run, made = run_of(published), artifacts()
    first = publish(run, recipe("odd"), made)
    named = publish(run, recipe("odd"), variant(made, tmp_path / "named", labels=("ham", "junk")))
    told = decision(published, named)
    assert told[""] == "not comparable"
    assert told["why"] == (
        "its labels are ham, junk, those of the frozen test set ham, spam: other labels need another registry.name"
    )

    model = published.get_logged_model(str(first.model_id))
    for settings in Path(model.artifact_location.removeprefix("file://")).rglob("inference.json"):
        settings.write_bytes(b"damaged")  # weights would be put back from the store
    told = decision(published, publish(run, recipe("odd"), variant(made, tmp_path / "ham", bias=ALWAYS_HAM)))
    assert told[""] == "kept"  # its evaluation has what the champion answers
    published.delete_tag(run, "artifact.evaluate")
    told = decision(published, publish(run, recipe("odd"), variant(made, tmp_path / "spam", bias=ALWAYS_SPAM)))
    assert told[""] == "not comparable"
    assert told["why"].startswith("the champion, version 1, cannot be compared with (")
    assert aliases(published, "odd") == {"champion": "1", "challenger": "4"}

    published.delete_model_version_tag("odd", "1", "finetune.promotion.frozen_test")
    told = decision(published, publish(run, recipe("odd"), variant(made, tmp_path / "other", bias=(9.0, 0.0))))
    assert told["why"].startswith("nothing says that the champion, version 1, did not learn from the frozen test set")


def test_a_classifier_that_learned_from_the_frozen_test_set_is_not_compared(
    published: MlflowClient, tmp_path: Path
) -> None:
    """Another run froze it after this one had looked."""
    run, made = run_of(published), artifacts()
    shuffled = tmp_path / "holdout"
    shutil.copytree(made["holdout"].folder, shuffled)
    shutil.rmtree(shuffled / "validation")
    shutil.copytree(shuffled / "test", shuffled / "validation")
    late = variant(made, tmp_path / "late", bias=(0.1, 0.0))
    late["holdout"] = made["holdout"].in_folder(shuffled)
    told = decision(published, publish(run, recipe("e2e"), late))
    assert told[""] == "not comparable"
    assert told["why"].startswith("it learned from 80 messages of the frozen test set")
    assert "frozen_test" not in told


def test_a_name_of_another_kind_of_model_is_refused(published: MlflowClient) -> None:
    published.create_registered_model("follower", tags={"finetune.kind": "instructions"})
    with pytest.raises(ServiceError, match="'follower' is no name for the classifier of this run"):
        publish(run_of(published), recipe("follower"), artifacts())
    assert published.search_model_versions("name = 'follower'") == []


def test_another_split_does_not_leak_the_frozen_test_set_and_is_cached_when_run_again(copied: Home) -> None:
    result = copied.run("--split.seed=5")
    folders = {step["step"]: Path(step["artifact"]["folder"]) for step in result["steps"] if step["artifact"]}
    (copy,) = (copied.folder / "frozen").glob("*.parquet")
    frozen = {normalise(text) for text in pd.read_parquet(copy)["text"]}
    plain, left = (
        {name: load_parts(folders[step] / name, SPLIT) for name in ("train", "validation", "test")}
        for step in ("split", "holdout")
    )
    for name in ("train", "validation"):
        kept = [normalise(text) not in frozen for text in plain[name]["text"]]
        assert not all(kept)  # without the step there would be a leak
        pd.testing.assert_frame_equal(left[name], plain[name][kept].reset_index(drop=True))
    pd.testing.assert_frame_equal(left["test"], plain["test"])
    tokens = load_parts(folders["tokenize"] / "train", TOKENS)
    assert tokens["id"].tolist() == left["train"]["id"].tolist()
    report = json.loads((folders["holdout"] / "split.json").read_text())
    assert report["held_out"] == {name: len(plain[name]) - len(left[name]) for name in ("train", "validation")}
    assert result["registered"]["promotion"] in ("promoted", "kept")

    assert {would for would, _ in copied.explain("--split.seed=5").values()} == {"be reused"}
    again = copied.run("--split.seed=5")
    assert ran(again) == []
    assert again["registered"] == {**result["registered"], "new": False, "model_id": None}
    # Under another name nothing is held out.
    fresh = copied.explain("--split.seed=5", "--registry.name=fresh")
    assert fresh["holdout"] == ("run", [f"held_out is another: {again_digest(folders['holdout'])} -> none"])
    assert [step for step in STEPS if fresh[step][0] == "depend"] == [
        *("tokenize", "features", "finetune", "engine", "cross_validate", "evaluate"),
    ]


def again_digest(folder: Path) -> str:
    """What an explanation shows of what was held out."""
    return f"{json.loads((folder / 'manifest.json').read_text())['ingredients']['identity']['held_out'][:12]}…"
