import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from lib.evaluation import pieces
from lib.evaluation.classify.decision import Wanted
from lib.evaluation.classify.evaluate import Choices, Facts, evaluate
from lib.evaluation.classify.findings import Findings
from lib.evaluation.drift.profile import read_profile, write_profile
from lib.evaluation.flat import flatten_metrics
from lib.files import mapped
from lib.files.mapped import Arrays
from lib.inference.engines.engine import ALIKE
from lib.inference.engines.torch_engine import TorchEngine
from lib.model.classifier import class_probabilities, load_classifier
from lib.text.gpt2 import gpt2_tokenizer
from tests.support.keyed import keyed_splits

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[dict[str, Any], Path]]

FILES = {"metrics.json", "findings.json", "predictions/part-00000.parquet", "baseline.parquet"} | {
    f"figures/{name}.{kind}"
    for name in ("loss", "accuracy", "confusion", "precision_recall", "reliability")
    for kind in ("png", "pdf")
}


@pytest.fixture(scope="module")
def made(
    classifier_folder: Path,
    splits: dict[str, pd.DataFrame],
    inputs: dict[str, list[list[int]]],
    facts: dict[str, Any],
) -> Run:
    """Evaluates into a folder; returns what `evaluate` returned, and the folder."""

    def made(folder: Path, **changes: Any) -> tuple[dict[str, Any], Path]:
        values = {"splits": splits, "inputs": inputs, **facts, **changes}
        names = {kind: {each.name for each in fields(kind)} & values.keys() for kind in (Facts, Choices, Wanted)}
        kinds = {kind: {name: values.pop(name) for name in names[kind]} for kind in names}
        metrics = evaluate(
            TorchEngine.load(classifier_folder, device="cpu"),
            facts=Facts(**kinds[Facts]),
            choices=Choices(wanted=Wanted(**kinds[Wanted]), **kinds[Choices]),
            folder=folder,
            **{**values, "splits": keyed_splits(values["splits"], folder.parent)},
        )
        return metrics, folder

    return made


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    """Evaluates into a folder of that name; returns what `evaluate` returned, and the folder."""
    return lambda name="evaluation", **changes: made(tmp_path / name, **changes)


@pytest.fixture(scope="module")
def usual(made: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What an evaluation comes to in which nothing is changed, and its folder. To be read only."""
    return made(tmp_path_factory.mktemp("usual") / "evaluation")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_files_and_that_they_are_the_same_bytes_again(usual: tuple[dict[str, Any], Path], run: Run) -> None:
    metrics, first = usual
    _, second = run("second")
    assert contents(first).keys() == FILES
    assert contents(first) == contents(second)
    assert json.loads((first / "metrics.json").read_text()) == metrics
    assert list(metrics) == ["train", "validation", "test", "baseline", "majority", "natural_prevalence"]


def test_pieces_of_any_size_give_the_same(
    usual: tuple[dict[str, Any], Path], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, first = usual
    monkeypatch.setattr(pieces, "PIECE", 7)
    monkeypatch.setattr(mapped, "LEAST", 1)
    cut, second = run("cut", arrays=Arrays(tmp_path / "arrays"))
    told, expected = (flatten_metrics(metrics) for metrics in (cut, whole))
    assert told == pytest.approx(expected, abs=1e-5)
    assert contents(second).keys() == FILES
    tables = [pq.read_table(folder / "predictions").to_pandas() for folder in (first, second)]
    for column in tables[0]:
        if column.startswith("probability_"):
            assert tables[1][column].to_numpy() == pytest.approx(tables[0][column].to_numpy(), abs=ALIKE)
        else:
            assert tables[1][column].equals(tables[0][column])
    found = [Findings.load(folder) for folder in (first, second)]
    assert found[0].slices == found[1].slices


def test_predictions_are_the_classifiers_probabilities_of_every_row(
    usual: tuple[dict[str, Any], Path],
    classifier_folder: Path,
    splits: dict[str, pd.DataFrame],
    inputs: dict[str, list[list[int]]],
) -> None:
    metrics, folder = usual
    table = pq.read_table(folder / "predictions")
    assert table.schema.names == [
        "split", "id", "text", "label", "predicted", "probability_ham", "probability_spam & <scam>",
    ]  # fmt: skip
    assert str(table.schema.field("probability_ham").type) == "double"
    rows = table.to_pandas()
    assert len(rows) == sum(map(len, splits.values()))
    classifier = load_classifier(classifier_folder)
    for name, split in splits.items():
        part = rows[rows["split"] == name]
        assert part["id"].tolist() == split["id"].tolist()
        assert part["text"].tolist() == split["text"].tolist()
        expected = class_probabilities(classifier, inputs[name], padding="batch", max_length=12, device="cpu")
        assert np.array_equal(part.filter(like="probability_"), expected)
    test = rows[rows["split"] == "test"]
    assert metrics["test"]["accuracy"] == (test["label"] == test["predicted"]).mean()
    assert metrics["test"]["rows"] == 20


def test_the_reserve_counts_at_natural_prevalence_without_copies_of_what_was_trained_on(
    usual: tuple[dict[str, Any], Path],
    run: Run,
    splits: dict[str, pd.DataFrame],
    inputs: dict[str, list[list[int]]],
) -> None:
    assert usual[0]["natural_prevalence"]["rows"] == 20 + 30
    copied = splits["reserve"].copy()
    copied.loc[3, "text"] = splits["train"]["text"][0].upper() + " !! 123"
    metrics, _ = run("again", splits={**splits, "reserve": copied})
    assert metrics["natural_prevalence"]["rows"] == 20 + 29
    assert metrics["natural_prevalence"]["shares"] == pytest.approx({"ham": 66 / 102, "spam & <scam>": 36 / 102})


def test_balanced_training_messages_are_counted_once_and_say_nothing_of_the_majority(
    run: Run, splits: dict[str, pd.DataFrame], inputs: dict[str, list[list[int]]]
) -> None:
    rows = [*range(40), *[1, 3] * 5]  # what oversampling makes of them
    repeated = [{**given, "train": made} for given, made in (
        (splits, splits["train"].iloc[rows].reset_index(drop=True)),
        (inputs, [inputs["train"][row] for row in rows]),
    )]  # fmt: skip
    metrics, folder = run("repeated", splits=repeated[0], inputs=repeated[1])
    found = Findings.load(folder)
    assert found.counts["train"] == {"ham": 20, "spam & <scam>": 20}
    assert (found.majority, metrics["majority"]["test"]["recall"]) == ("ham", 0.0)


def test_a_threshold_chosen_on_undersampled_messages_warns(run: Run) -> None:
    heard: list[str] = []
    _, folder = run("undersampled", undersampled=True, threshold="auto", warn=heard.append)
    assert ["undersample" in sentence for sentence in heard] == [True]
    assert list(Findings.load(folder).warnings) == heard


def test_what_is_switched_off_is_not_there(run: Run) -> None:
    metrics, folder = run(baseline=False, natural_prevalence=False)
    assert list(metrics) == ["train", "validation", "test", "majority"]
    assert contents(folder).keys() == FILES - {"baseline.parquet"}
    assert set(pd.read_parquet(folder / "predictions")["split"]) == {"train", "validation", "test"}


def test_an_empty_reserve_is_as_none(
    run: Run, splits: dict[str, pd.DataFrame], inputs: dict[str, list[list[int]]]
) -> None:
    empty = [{**given, "reserve": given["reserve"][:0]} for given in (splits, inputs)]
    metrics, folder = run("empty", splits=empty[0], inputs=empty[1])
    assert metrics["natural_prevalence"]["rows"] == 20
    assert list(Findings.load(folder).counts) == ["source", "train", "validation", "test"]


def test_the_positive_label_is_the_one_that_is_asked_for(run: Run) -> None:
    metrics, _ = run(positive_label="ham")
    assert metrics["test"]["recall"] == metrics["test"]["classes"]["ham"]["recall"]


def test_progress_goes_once_from_nothing_to_all_messages(run: Run) -> None:
    heard: list[tuple[int, int | None, str]] = []
    run(progress=lambda done, total, unit: heard.append((done, total, unit)))
    assert [done for done, _, _ in heard] == sorted({done for done, _, _ in heard})
    assert heard[-1] == (102, 102, "messages")
    assert {(total, unit) for _, total, unit in heard} == {(102, "messages")}


def test_inputs_of_other_messages_are_refused(run: Run, inputs: dict[str, list[list[int]]]) -> None:
    with pytest.raises(ValueError, match="the 19 inputs of test are not those"):
        run(inputs={**inputs, "test": inputs["test"][1:]})


def test_the_threshold_moves_labels_and_figures_and_no_probability(
    usual: tuple[dict[str, Any], Path], run: Run
) -> None:
    plain, before = usual
    strict, after = run("strict", threshold=0.999)
    tables = [pq.read_table(folder / "predictions").to_pandas() for folder in (before, after)]
    assert set(tables[1]["predicted"]) == {"ham"}
    assert strict["test"]["recall"] == strict["natural_prevalence"]["recall"] == 0
    assert strict["baseline"]["test"]["recall"] < plain["baseline"]["test"]["recall"]
    assert strict["majority"] == plain["majority"]
    for figure in ("log_loss", "roc_auc"):
        assert strict["test"][figure] == plain["test"][figure]
    assert tables[0].drop(columns="predicted").equals(tables[1].drop(columns="predicted"))
    assert (before / "figures" / "confusion.png").read_bytes() != (after / "figures" / "confusion.png").read_bytes()
    assert (before / "figures" / "loss.png").read_bytes() == (after / "figures" / "loss.png").read_bytes()


@pytest.mark.parametrize("present", ["ham", "spam & <scam>"])
def test_a_given_test_set_may_lack_a_label(
    run: Run, splits: dict[str, pd.DataFrame], inputs: dict[str, list[list[int]]], present: str
) -> None:
    rows = np.flatnonzero(splits["test"]["label"] == present)
    given = {**splits, "test": splits["test"].iloc[rows].reset_index(drop=True)}
    theirs = {**inputs, "test": [inputs["test"][row] for row in rows]}
    natural = {"ham": 0, "spam & <scam>": 0} | {present: len(rows)}
    metrics, folder = run("given", splits=given, inputs=theirs, natural=natural)
    assert contents(folder).keys() == FILES
    assert metrics["test"]["roc_auc"] is None
    assert metrics["natural_prevalence"]["shares"] == {label: float(label == present) for label in natural}
    assert Findings.load(folder).given_test
    write_profile(folder, labels=list(natural), class_counts=natural, tokenizer=gpt2_tokenizer())
    profile = read_profile(folder)
    assert profile is not None
    assert profile.messages == 12 + 10
