"""Every number of one evaluation, computed again from the tables beside it, with scikit-learn, SciPy or by its
definition."""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as reference

from lib.data.duplicates import normalise
from lib.evaluation.classify.evaluate import Choices, Facts, write_evaluation
from lib.evaluation.classify.findings import Findings
from tests.lib.evaluation.conftest import SPAM
from tests.support.keyed import keyed_splits

LABELS = ("ham", SPAM)
LEVEL = 0.9
WORDS = ["lunch", "home", "train", "prize", "claim", "winner", "cash", "mother", "doctor", "garden", "monday", "offer"]
COUNTS = {"ham": 900, SPAM: 100}  # of the source, as messages come
ROWS = {"train": 240, "validation": 60, "test": 120, "reserve": 80}


class Made(NamedTuple):
    """metrics.json, findings.json, predictions and baseline.parquet of one evaluation."""

    metrics: dict[str, Any]
    findings: Findings
    predictions: pd.DataFrame
    baseline: pd.DataFrame

    @property
    def test(self) -> pd.DataFrame:
        return self.of("test")

    def of(self, split: str) -> pd.DataFrame:
        return self.predictions[self.predictions["split"] == split].reset_index(drop=True)


@pytest.fixture(scope="module")
def channels() -> list[str | None]:
    return [("sms", "mail", None)[row % 3] for row in range(ROWS["test"])]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, channels: list[str | None]) -> Made:
    """Messages of random words, some copied from split to split, and a classifier that is often right."""
    generator, splits, probabilities = np.random.default_rng(3), {}, {}
    for split, rows in ROWS.items():
        texts = [" ".join(generator.choice(WORDS, 9)) + f" {chr(97 + row % 26)}" for row in range(rows)]
        spam = generator.random(rows) < (0 if split == "reserve" else 0.4)
        texts = [f"{text} call {row} www.win.com" if row % 2 else text for row, text in enumerate(texts)]
        splits[split] = pd.DataFrame({"text": texts, "label": np.where(spam, SPAM, "ham")})
        scores = 1 / (1 + np.exp(-generator.normal(np.where(spam, 1.2, -1.6), 1.5)))
        probabilities[split] = np.stack([1 - scores, scores], axis=1)
    train = splits["train"]["text"]
    for row in range(6):
        splits["validation"].loc[row, "text"] = train[row + 10]
        splits["test"].loc[row, "text"] = train[row]  # exact
        splits["test"].loc[row + 6, "text"] = f"{train[row + 20].upper()} ok"  # near
        splits["reserve"].loc[row, "text"] = f"{train[row]}!"
    for split, first in zip(ROWS, np.cumsum([0, *ROWS.values()]), strict=False):
        splits[split].insert(0, "id", np.arange(first, first + ROWS[split]))
    straddling = {which: {"near_duplicates": {"test": 12}, "copies": {"test": 6}} for which in ("made", "plain")}
    column = np.linspace(0.5, 0.9, 3)
    history = pd.DataFrame(
        {"step": [0, 4, 9], "epoch": [0.1, 0.5, 1.0], "examples_seen": [4, 20, 40]}
        | {f"{split}_{name}": column for split in ("train", "validation") for name in ("loss", "accuracy")}
    )
    folder = tmp_path_factory.mktemp("evidence")
    metrics = write_evaluation(
        folder,
        splits=keyed_splits(splits, tmp_path_factory.mktemp("splits")),
        probabilities=probabilities,
        labels=LABELS,
        facts=Facts(history, COUNTS, straddling, {"backbone": "tiny"}, columns={"channel": channels}),
        choices=Choices(confidence=LEVEL),
    )
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    tables = [pd.read_parquet(folder / name) for name in ("predictions", "baseline.parquet")]
    return Made(metrics, Findings.load(folder), *tables)


def wilson(hits: int, rows: int) -> tuple[float, float]:
    found = stats.binomtest(hits, rows).proportion_ci(LEVEL, method="wilson")
    return found.low, found.high


def measured(label: pd.Series, predicted: pd.Series, scores: pd.Series, weights: Any = None) -> dict[str, Any]:
    """What `measure` returns of rows with the positive label's probabilities `scores`, by scikit-learn."""
    right, truth = int((label == predicted).sum()), label == SPAM
    confusion = reference.confusion_matrix(label, predicted, labels=LABELS, sample_weight=weights)
    by_label = reference.classification_report(
        label, predicted, labels=LABELS, output_dict=True, zero_division=0, sample_weight=weights
    )
    low, high = wilson(right, len(label))
    return {
        "rows": len(label),
        "accuracy": reference.accuracy_score(label, predicted, sample_weight=weights),
        "accuracy_interval": {"low": low, "high": high, "confidence": LEVEL},
        "precision": by_label[SPAM]["precision"],
        "recall": by_label[SPAM]["recall"],
        "f1": by_label[SPAM]["f1-score"],
        "mcc": reference.matthews_corrcoef(label, predicted, sample_weight=weights),
        "false_positive_rate": confusion[0, 1] / confusion[0].sum(),
        "confusion": confusion.tolist(),
        "classes": {
            name: {
                "rows": int((label == name).sum()),
                **{ours: by_label[name][theirs] for ours, theirs in
                   (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score"))},
            }
            for name in LABELS
        },
        "roc_auc": reference.roc_auc_score(truth, scores),
        "log_loss": reference.log_loss(truth, scores),
    }  # fmt: skip


def of_rows(rows: pd.DataFrame) -> dict[str, Any]:
    return measured(rows["label"], rows["predicted"], rows[f"probability_{SPAM}"])


def same(found: Any, expected: Any) -> None:
    """Compares nested figures: the same names, and numbers that are the same but for rounding."""
    assert type(found) is type(expected) or isinstance(found, int | float), (found, expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            same(found[name], value)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for first, second in zip(found, expected, strict=True):
            same(first, second)
    else:
        assert found == pytest.approx(expected, abs=1e-9)


def test_there_is_nothing_but_what_is_computed_again_here(made: Made) -> None:
    assert list(made.metrics) == [
        "train", "validation", "test", "baseline", "majority", "natural_prevalence", "test_without_copies",
    ]  # fmt: skip


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_figures_of_each_split(made: Made, split: str) -> None:
    bounds = {name for name in made.metrics[split] if name.endswith(("_low", "_high"))}
    same({name: value for name, value in made.metrics[split].items() if name not in bounds}, of_rows(made.of(split)))


def resampled(label: Any, predicted: Any, scores: Any) -> dict[str, float]:
    """The figures of some rows that have an interval, by their definitions: a thousand times faster than `measured`."""
    truth, given = label == SPAM, predicted == SPAM
    hits, ranks = (truth & given).sum(), stats.rankdata(scores)
    area = (ranks[truth].sum() - truth.sum() * (truth.sum() + 1) / 2) / (truth.sum() * (~truth).sum())
    return {
        "precision": hits / given.sum(),
        "recall": hits / truth.sum(),
        "f1": 2 * hits / (truth.sum() + given.sum()),
        "mcc": np.corrcoef(truth, given)[0, 1],
        "false_positive_rate": (given & ~truth).sum() / (~truth).sum(),
        "log_loss": -np.log(np.where(truth, scores, 1 - scores)).mean(),
        "roc_auc": area,
    }


def test_the_intervals_of_test_are_those_of_resampling_its_rows_within_each_label(made: Made) -> None:
    columns = [made.test[name].to_numpy() for name in ("label", "predicted", f"probability_{SPAM}")]
    same(resampled(*columns), {name: made.metrics["test"][name] for name in resampled(*columns)})
    generator, drawn = np.random.default_rng(11), []
    by_label = [np.flatnonzero(columns[0] == label) for label in LABELS]
    for _ in range(1_000):
        rows = np.concatenate([generator.choice(each, len(each)) for each in by_label])
        drawn.append(resampled(*(column[rows] for column in columns)))
    assert {f"{name}_{bound}" for name in drawn[0] for bound in ("low", "high")} == {
        name for name in made.metrics["test"] if name.endswith(("_low", "_high"))
    }
    for name in drawn[0]:
        low, high = np.quantile([each[name] for each in drawn], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        found = made.metrics["test"][f"{name}_low"], made.metrics["test"][f"{name}_high"]
        assert found == pytest.approx((low, high), abs=0.15 * (high - low)), name  # one message is 11 % of one


def test_the_rivals(made: Made) -> None:
    test, found = made.test, made.baseline
    assert found["id"].tolist() == test["id"].tolist()
    same(made.metrics["baseline"], {"test": measured(test["label"], found["predicted"], found[f"probability_{SPAM}"])})
    shares = pd.Series(COUNTS) / sum(COUNTS.values())
    assert made.findings.majority == shares.idxmax()
    always = pd.Series([shares.idxmax()] * len(test))
    same(made.metrics["majority"], {"test": measured(test["label"], always, pd.Series([shares[SPAM]] * len(test)))})
    assert made.findings.baseline is not None
    assert (made.findings.baseline.rows, made.findings.baseline.of_rows) == (240, 240)

    right = {
        "classifier": test["label"] == test["predicted"],
        "baseline": test["label"] == found["predicted"],
        "majority": test["label"] == always,
    }
    pairs = list(combinations(right, 2))
    assert [(each.first, each.second) for each in made.findings.comparisons] == pairs
    raw = []
    for each, (first, second) in zip(made.findings.comparisons, pairs, strict=True):
        wins, losses = int((right[first] & ~right[second]).sum()), int((right[second] & ~right[first]).sum())
        raw.append(stats.binomtest(wins, wins + losses).pvalue)
        assert (each.wins, each.losses, each.messages) == (wins, losses, len(test))
        assert each.difference == pytest.approx(right[first].mean() - right[second].mean())
        assert each.p_value == pytest.approx(raw[-1])
    assert [each.adjusted for each in made.findings.comparisons] == pytest.approx(step_down(raw))


def step_down(p_values: list[float]) -> list[float]:
    """Holm's correction: of all that are at most as large, the largest product of p-value and what is left to test."""
    ordered = sorted(p_values)
    products = [min(1.0, (len(ordered) - place) * value) for place, value in enumerate(ordered)]
    return [max(products[: ordered.index(value) + 1]) for value in p_values]


def new_rows(made: Made) -> pd.DataFrame:
    known = set(made.of("train")["text"].map(normalise))
    rows = pd.concat([made.of("test"), made.of("reserve")], ignore_index=True)
    return rows[~rows["text"].map(normalise).isin(known)].reset_index(drop=True)


def test_what_is_estimated_at_the_natural_shares(made: Made) -> None:
    rows = new_rows(made)
    shares = {label: count / sum(COUNTS.values()) for label, count in COUNTS.items()}
    weights = rows["label"].map(shares) / rows["label"].map(rows["label"].value_counts())
    theirs = measured(rows["label"], rows["predicted"], rows[f"probability_{SPAM}"], weights)
    found = made.metrics["natural_prevalence"]
    joint = np.array(theirs["confusion"]) / np.sum(theirs["confusion"])
    interval = found.pop("accuracy_interval")
    same(found, {
        "rows": len(rows), "shares": shares,
        **{name: theirs[name] for name in ("accuracy", "precision", "recall", "f1", "mcc")},
        "errors_per_1000": 1000 * (1 - theirs["accuracy"]),
        "false_positives_per_1000": 1000 * joint[0, 1], "false_negatives_per_1000": 1000 * joint[1, 0],
    })  # fmt: skip
    below = above = 0.0
    for label, share in shares.items():
        own = rows[rows["label"] == label]
        hits = int((own["label"] == own["predicted"]).sum())
        low, high = wilson(hits, len(own))
        below, above = below + (share * (hits / len(own) - low)) ** 2, above + (share * (high - hits / len(own))) ** 2
    same(interval, {"low": found["accuracy"] - below**0.5, "high": found["accuracy"] + above**0.5, "confidence": LEVEL})

    truth, scores = rows["label"] == SPAM, rows[f"probability_{SPAM}"]
    curve = made.findings.prevalence
    assert curve is not None
    assert curve.prevalence == pytest.approx(0.1)
    assert curve.average_precision == pytest.approx(
        reference.average_precision_score(truth, scores, sample_weight=weights)
    )
    for threshold, precision, recall in [*zip(curve.thresholds, curve.precision, curve.recall, strict=True)][::10]:
        given = scores >= threshold
        assert precision == pytest.approx(reference.precision_score(truth, given, sample_weight=weights))
        assert recall == pytest.approx(reference.recall_score(truth, given, sample_weight=weights))


def cosine(first: str, second: str) -> float:
    """Of the sets of four characters that begin anywhere in the levelled texts."""
    sets = [
        {f"{text}\0\0\0"[place : place + 4] for place in range(len(text))} for text in map(normalise, (first, second))
    ]
    return len(sets[0] & sets[1]) / math.sqrt(len(sets[0]) * len(sets[1]))


def test_copies_between_splits_and_the_score_without_them(made: Made) -> None:
    kept = np.ones(len(made.test), bool)
    assert [(leak.split, leak.source) for leak in made.findings.leaks] == [
        ("validation", "train"), ("test", "train"), ("test", "validation"),
    ]  # fmt: skip
    for leak in made.findings.leaks:
        texts, others = made.of(leak.split)["text"], made.of(leak.source)["text"]
        best = [max((cosine(text, other), -row) for row, other in enumerate(others)) for text in texts]
        assert [copy.row for copy in leak.copies] == [row for row, (value, _) in enumerate(best) if value >= 0.8]
        assert leak.exact == texts.isin(others).sum()
        for copy in leak.copies:
            assert copy.cosine == pytest.approx(best[copy.row][0])
            assert cosine(texts[copy.row], others[copy.of]) == pytest.approx(copy.cosine)
            assert copy.exact == (texts[copy.row] == others[copy.of])
        if leak.split == "test":
            kept[[copy.row for copy in leak.copies]] = False
    assert (~kept).sum() >= 12
    same(made.metrics["test_without_copies"], of_rows(made.test[kept]))


def test_the_calibration(made: Made) -> None:
    scores = made.test.filter(like="probability_").to_numpy()
    sure, given = scores.max(axis=1), np.array(LABELS)[scores.argmax(axis=1)]
    right = (given == made.test["label"]).to_numpy()
    found = made.findings.calibration
    error = 0.0
    for each in found.bins:
        inside = (sure > each.low) & (sure <= each.high)
        assert each.rows == inside.sum() > 0
        assert (each.confidence, each.accuracy) == pytest.approx((sure[inside].mean(), right[inside].mean()))
        assert each.interval == pytest.approx(wilson(int(right[inside].sum()), int(inside.sum())))
        error += abs(right[inside].sum() - sure[inside].sum()) / len(sure)
    assert sum(each.rows for each in found.bins) == len(sure)
    assert found.error == pytest.approx(error)
    assert found.log_loss == pytest.approx(made.metrics["test"]["log_loss"])
    edges = np.linspace(0, 1, 16)[1:-1]
    place = np.digitize(sure, edges, right=True)
    drawn = np.random.default_rng(4).random((2_000, len(sure))) < sure
    errors = [np.abs(np.bincount(place, each - sure, 15)).sum() / len(sure) for each in drawn]
    assert found.by_chance == pytest.approx(np.quantile(errors, 0.95), rel=0.1)


def test_the_table_of_labels(made: Made) -> None:
    figures, confusion = made.metrics["test"]["classes"], np.array(made.metrics["test"]["confusion"])
    table = made.findings.classes
    assert [row.f1 for row in table.rows] == sorted(figures[label]["f1"] for label in LABELS)
    for row in table.rows:
        index = LABELS.index(row.label)
        hits = int(confusion[index, index])
        same({name: getattr(row, name) for name in ("rows", "precision", "recall", "f1")}, figures[row.label])
        assert row.predicted == (made.test["predicted"] == row.label).sum()
        assert row.precision_interval == pytest.approx(wilson(hits, row.predicted))
        assert row.recall_interval == pytest.approx(wilson(hits, row.rows))
    wrong = Counter(
        (label, given)
        for label, given in zip(made.test["label"], made.test["predicted"], strict=True)
        if label != given
    )
    assert {(each.label, each.predicted): each.rows for each in table.confusions} == wrong
    assert all(each.share == pytest.approx(each.rows / figures[each.label]["rows"]) for each in table.confusions)
    assert table.left_out == 0


def test_the_slices(made: Made, channels: list[str | None]) -> None:
    texts, right = made.test["text"], (made.test["label"] == made.test["predicted"]).to_numpy()
    inside = {
        ("links", "with"): texts.str.contains("www.", case=False),
        ("links", "without"): ~texts.str.contains("www.", case=False),
        ("digits", "with"): texts.str.contains(r"\d"),
        ("digits", "without"): ~texts.str.contains(r"\d"),
        ("channel", "sms"): pd.Series(channels) == "sms",
        ("channel", "mail"): pd.Series(channels) == "mail",
    }
    found = {(each.what, each.value): each for each in made.findings.slices}
    assert inside.keys() < found.keys()
    lengths = texts.str.len()
    quarters = [each for each in made.findings.slices if each.what == "length"]
    assert [each.value for each in quarters][::3] == ["shortest quarter", "longest quarter"]
    inside["length", "shortest quarter"] = lengths <= lengths.quantile(0.25)
    inside["length", "longest quarter"] = lengths > lengths.quantile(0.75)
    raw = {}
    for what, rows in inside.items():
        mask = rows.to_numpy()
        hits, others = right[mask], right[~mask]
        each = found[what]
        assert each.rows == mask.sum()
        assert (each.accuracy, each.accuracy_of_rest) == pytest.approx((hits.mean(), others.mean()))
        assert each.interval == pytest.approx(wilson(int(hits.sum()), len(hits)))
        raw[what] = stats.fisher_exact([[hits.sum(), (~hits).sum()], [others.sum(), (~others).sum()]]).pvalue
    assert all(found[what].p_value >= value - 1e-12 for what, value in raw.items())
    least = min(raw, key=lambda what: raw[what])
    assert found[least].p_value <= min(1.0, raw[least] * len(found)) + 1e-12


def test_the_most_confident_mistakes_and_what_is_most_like_them_in_training(made: Made) -> None:
    test, train = made.test, made.of("train")["text"]
    wrong = test[test["label"] != test["predicted"]]
    sure = pd.Series(
        [row[f"probability_{row['predicted']}"] for row in wrong.to_dict("records")], index=wrong.index
    ).sort_values(ascending=False, kind="stable")
    assert [each.row for each in made.findings.mistakes] == sure.index[:20].tolist()
    for each in made.findings.mistakes:
        assert each.probability == pytest.approx(sure[each.row])
        assert (LABELS[each.target], LABELS[each.given]) == (test["label"][each.row], test["predicted"][each.row])
        likely = sorted((cosine(test["text"][each.row], text) for text in train), reverse=True)[:3]
        assert [other.cosine for other in each.neighbours] == pytest.approx(likely)
        for other in each.neighbours:
            assert other.cosine == pytest.approx(cosine(test["text"][each.row], train[other.row]))


def test_what_the_rest_of_the_findings_counts(made: Made) -> None:
    found = made.findings
    assert (found.labels, found.positive, found.confidence, found.decision.threshold) == (LABELS, SPAM, LEVEL, 0.5)
    assert found.counts["source"] == COUNTS
    for split in ROWS:
        assert found.counts[split] == {label: int((made.of(split)["label"] == label).sum()) for label in LABELS}
