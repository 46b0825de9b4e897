"""Drift against hand-computed values and published formulas; what chance and small numbers are allowed to do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from lib.evaluation.drift.comparison import (
    Comparison,
    Tallier,
    Tally,
    chi_squared_quantile,
    compare,
    kolmogorov_p_value,
)
from lib.evaluation.drift.profile import (
    MOST_VALUES,
    Distribution,
    DriftProfile,
    drift_profile,
    read_profile,
    write_profile,
)
from lib.text.gpt2 import gpt2_tokenizer

LABELS = ("ham", "spam")
SETTINGS: dict[str, Any] = {"minimum": 200, "significance": 0.001, "psi": 0.25, "ks": 0.2, "unknown": 0.1}


def predictions(rows: list[tuple[str, str, str, float]]) -> pa.Table:
    """A table from (split, text, label, probability of spam)."""
    table = pd.DataFrame(rows, columns=["split", "text", "label", "probability_spam"])
    table = table.assign(id=range(len(rows)), predicted="ham", probability_ham=1 - table["probability_spam"])
    return pa.Table.from_pandas(table, preserve_index=False)


def profile_of(rows: list[tuple[str, str, str, float]], **class_counts: int) -> DriftProfile:
    return drift_profile([predictions(rows)], labels=LABELS, class_counts=class_counts, tokenizer=gpt2_tokenizer())


tokens_of = gpt2_tokenizer().encode

# Each of these words is one token.
HELD_OUT = [
    ("train", "hello hello world", "ham", 0.9),
    ("validation", "hello", "ham", 0.1),
    ("validation", "hello world world", "ham", 0.2),
    ("test", "hello there", "spam", 0.8),
]


def test_a_profile_counts_held_out_messages_at_the_sources_class_shares() -> None:
    profile = profile_of(HELD_OUT, ham=9, spam=1)
    # Two ham stand for nine of ten messages, so each counts 3 * 0.45 = 1.35 times, the spam 0.3 times.
    assert profile.messages == 3
    assert profile.effective == pytest.approx(9 / (2 * 1.35**2 + 0.3**2))
    assert profile.score.values == (0.1, 0.2, 0.8)
    assert profile.score.masses == pytest.approx((0.45, 0.45, 0.1))
    assert profile.length == Distribution(values=(1, 2, 3), masses=profile.length.masses)
    assert profile.length.masses == pytest.approx((0.45, 0.1, 0.45))
    assert profile.most_probable == pytest.approx({"ham": 0.9, "spam": 0.1})
    # Of 1.35 * 1 + 1.35 * 3 + 0.3 * 2 = 6 tokens, " there" is unknown, which counts 0.3 times.
    assert profile.unknown == pytest.approx(0.05)
    residuals = [1.35 * (0 - 0.05 * 1), 1.35 * (0 - 0.05 * 3), 0.3 * (1 - 0.05 * 2)]
    assert profile.unknown_variance == pytest.approx(sum(r * r for r in residuals) / 36)
    known = [gpt2_tokenizer().decode([token]) for token in np.flatnonzero(profile.known_tokens()).tolist()]
    assert sorted(known) == [" hello", " world", "hello"]


def test_of_many_values_a_thousand_quantiles_are_kept() -> None:
    values = np.random.default_rng(1).normal(size=20_000)
    kept = Distribution.of(*np.unique(values, return_counts=True))
    assert len(kept.values) == MOST_VALUES
    assert sum(kept.masses) == pytest.approx(1)
    assert max(kept.masses) < 1.1 / MOST_VALUES
    share = np.searchsorted(np.sort(values), kept.values, side="right") / len(values)
    assert np.cumsum(kept.masses) == pytest.approx(share)


def even_profile(count: int = 400, **changes: Any) -> DriftProfile:
    """Scores at (i + 0.5) / count, lengths 1 to 10, all equally often."""
    even = Distribution(values=tuple((i + 0.5) / count for i in range(count)), masses=(1 / count,) * count)
    facts: dict[str, Any] = {
        "tokenizer": gpt2_tokenizer().name,
        "labels": LABELS,
        "messages": count,
        "effective": float(count),
        "score": even,
        "length": Distribution(values=tuple(range(1, 11)), masses=(0.1,) * 10),
        "most_probable": {"ham": 0.5, "spam": 0.5},
        "unknown": 0.0,
        "unknown_variance": 0.0,
        "known": profile_of(HELD_OUT, ham=1, spam=1).known,
        **changes,
    }
    return DriftProfile(**facts)


def tally_of(profile: DriftProfile, scores: Any, lengths: Any = None) -> Tally:
    """The tally of messages with these probabilities of spam, of so many known tokens."""
    scores = np.asarray(scores, dtype=np.float64)
    lengths = [1 + i % 10 for i in range(len(scores))] if lengths is None else lengths
    texts = [" ".join(["hello"] * int(length)) for length in lengths]
    return Tallier(profile).count(tokens_of(texts), np.column_stack([1 - scores, scores]))


def measures(comparison: Comparison) -> dict[str, float]:
    return {measure.name: measure.value for measure in comparison.measures}


def test_psi_is_the_sum_over_tenths_by_hand() -> None:
    profile = even_profile()
    scores = np.concatenate([np.full(300, 0.04), np.tile(profile.score.values, 2)])  # 300 more in the lowest tenth
    found = measures(compare(profile, tally_of(profile, scores), **SETTINGS))
    expected = (np.full(10, 40) + 0.5) / 405
    actual = (np.array([380] + [80] * 9) + 0.5) / 1105
    assert found["psi_score"] == pytest.approx(float(((actual - expected) * np.log(actual / expected)).sum()))
    # Without the half that is added: (0.345 - 0.1) ln 3.45 + 9 (0.0727 - 0.1) ln 0.727.
    assert found["psi_score"] == pytest.approx(0.3825, abs=0.005)
    assert found["psi_length"] == pytest.approx(0, abs=1e-6)
    shares = np.array([700.5, 400.5]) / 1101  # 300 + 400 are called ham, 400 spam
    assert found["psi_label"] == pytest.approx(float(((shares - 0.5) * np.log(shares / 0.5)).sum()))


def test_ks_is_that_of_the_samples_themselves() -> None:
    draw = np.random.default_rng(2)
    reference, scored = np.round(draw.beta(2, 5, 300), 2), np.round(draw.beta(2, 4, 700), 2)  # with many ties
    profile = even_profile(score=Distribution.of(*np.unique(reference, return_counts=True)), effective=300.0)
    lengths = draw.integers(1, 13, 700)
    comparison = compare(profile, tally_of(profile, scored, lengths), **SETTINGS)
    found = measures(comparison)
    assert found["ks_score"] == pytest.approx(stats.ks_2samp(reference, scored).statistic)
    assert found["ks_length"] == pytest.approx(stats.ks_2samp(list(range(1, 11)), lengths).statistic)
    p_value = next(measure.p_value for measure in comparison.measures if measure.name == "ks_score")
    assert p_value == pytest.approx(stats.ks_2samp(reference, scored, method="asymp").pvalue, rel=0.25)


def test_unknown_tokens_are_those_that_training_did_not_have() -> None:
    profile = even_profile()
    texts = ["hello world", "hello there", "ψυχή"]
    tally = Tallier(profile).count(tokens_of(texts), np.full((3, 2), 0.5))
    greek = len(gpt2_tokenizer().encode(["ψυχή"])[0])
    assert (tally.tokens, tally.unknown) == (4 + greek, 1 + greek)
    comparison = compare(profile, tally, **SETTINGS)
    assert comparison.unknown == pytest.approx((1 + greek) / (4 + greek))
    rise = next(measure for measure in comparison.measures if measure.name == "unknown_rise")
    share = comparison.unknown
    residuals = [0 - share * 2, 1 - share * 2, greek - share * greek]
    deviation = math.sqrt(sum(r * r for r in residuals)) / (4 + greek)
    assert rise.chance == pytest.approx(3.0902 * deviation, rel=1e-4)


def test_tallies_of_parts_add_up_to_the_tally_of_all() -> None:
    profile = profile_of(HELD_OUT, ham=1, spam=1)
    texts = ["hello", "a much longer message than any of those", "hello there world", "world"]
    probabilities = np.array([[0.9, 0.1], [0.15, 0.85], [0.5, 0.5], [0.0, 1.0]])
    tallier = Tallier(profile)
    parts = tallier.nothing()
    for at in (slice(0, 1), slice(1, 3), slice(3, 4)):
        parts = parts.plus(tallier.count(tokens_of(texts[at]), probabilities[at]))
    assert parts == tallier.count(tokens_of(texts), probabilities)
    assert parts.score == [0, 1, 0, 0, 1, 0, 2]  # at 0.1; between 0.2 and 0.8; above 0.8
    assert parts.labels == [2, 2]


def test_what_has_not_changed_is_no_drift_however_often_it_is_looked_at() -> None:
    draw = np.random.default_rng(3)
    profile = even_profile(120)  # few: chance has much room
    for count in (200, 1000, 5000):
        for _ in range(20):
            comparison = compare(profile, tally_of(profile, draw.random(count)), **{**SETTINGS, "psi": 0, "ks": 0})
            assert comparison.drifted == ()


def test_a_large_shift_is_drift_and_a_slight_one_of_many_messages_is_not() -> None:
    profile = even_profile()
    shifted = compare(profile, tally_of(profile, np.linspace(0.4, 1, 400)), **SETTINGS)
    assert [measure.name for measure in shifted.drifted] == ["psi_score", "ks_score", "psi_label"]
    slight = compare(profile, tally_of(profile, np.linspace(0.08, 1, 20_000)), **SETTINGS)
    assert slight.drifted == ()
    certain = next(measure for measure in slight.measures if measure.name == "psi_score")
    assert certain.chance < certain.value < certain.threshold


def test_a_shift_of_few_messages_may_be_chance() -> None:
    profile = even_profile(60)
    few = compare(profile, tally_of(profile, np.linspace(0.3, 1, 30)), **{**SETTINGS, "minimum": 1})
    psi = next(measure for measure in few.measures if measure.name == "psi_score")
    assert psi.threshold < psi.value < psi.chance
    assert not psi.exceeded


def test_too_few_messages_are_measured_but_never_declared() -> None:
    profile = even_profile()
    comparison = compare(profile, tally_of(profile, np.ones(199)), **SETTINGS)
    assert comparison.too_few == "199 messages are too few to declare drift: drift.minimum is 200"
    assert any(measure.exceeded for measure in comparison.measures)
    assert comparison.drifted == ()
    assert comparison.metrics()["drift/drifted"] == 0
    thin = compare(even_profile(effective=49.0), tally_of(profile, np.ones(500)), **SETTINGS)
    assert "with fewer than 50 drift cannot be told from chance" in thin.too_few
    with pytest.raises(ValueError, match="no messages were scored"):
        compare(profile, Tallier(profile).nothing(), **SETTINGS)


def test_more_than_two_classes_are_compared_by_confidence_and_labels() -> None:
    labels = ("a", "b", "c")
    shares = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.7, 0.2, 0.1]] * 100)
    table = pd.DataFrame({"split": ["train", "validation", "test", "test"] * 100, "text": "hello", "label": "a"})
    for at, label in enumerate(labels):
        table[f"probability_{label}"] = shares[:, at]
    table["label"] = ["a", "b", "c", "a"] * 100
    profile = drift_profile(
        [pa.Table.from_pandas(table)], labels=labels, class_counts={"a": 2, "b": 1, "c": 1}, tokenizer=gpt2_tokenizer()
    )
    assert profile.score.values == (0.6, 0.7, 0.8)
    tally = Tallier(profile).count(tokens_of(["hello"] * 300), np.tile([0.0, 0.2, 0.8], (300, 1)))
    drifted = {measure.name for measure in compare(profile, tally, **SETTINGS).drifted}
    assert {"psi_label", "ks_score"} <= drifted


@pytest.mark.parametrize("degrees", [1, 4, 9])
@pytest.mark.parametrize("probability", [0.95, 0.999])
def test_chi_squared_and_kolmogorov_are_those_of_the_tables(degrees: int, probability: float) -> None:
    assert chi_squared_quantile(probability, degrees) == pytest.approx(stats.chi2.ppf(probability, degrees), rel=0.035)
    assert kolmogorov_p_value(1e-6, 100) == 1.0
    for distance in (0.05, 0.1, 0.2):
        exact = stats.kstwo.sf(distance, 200)
        assert kolmogorov_p_value(distance, 200) == pytest.approx(exact, rel=0.1, abs=1e-9)


def assert_same(made: DriftProfile, other: DriftProfile) -> None:
    """Sums of weights depend on the pieces in which messages come, by rounding."""
    for kind in ("score", "length"):
        for what in ("values", "masses"):
            assert getattr(getattr(made, kind), what) == pytest.approx(getattr(getattr(other, kind), what))
    assert (made.known, made.labels, made.messages) == (other.known, other.labels, other.messages)
    assert made.most_probable == pytest.approx(other.most_probable)
    for name in ("effective", "unknown", "unknown_variance"):
        assert getattr(made, name) == pytest.approx(getattr(other, name))


def test_a_profile_survives_its_file_and_need_not_be_there(tmp_path: Any) -> None:
    assert read_profile(tmp_path) is None
    (tmp_path / "predictions").mkdir()
    pq.write_table(predictions(HELD_OUT), tmp_path / "predictions" / "part-00000.parquet")
    for _ in range(2):
        write_profile(tmp_path, labels=LABELS, class_counts={"ham": 9, "spam": 1}, tokenizer=gpt2_tokenizer())
        first = (tmp_path / "drift_profile.json").read_bytes()
    expected = profile_of(HELD_OUT, ham=9, spam=1)
    assert read_profile(tmp_path) == expected
    tokens = {split: [np.array(tokens_of([text])[0], np.int32) for name, text, *_ in HELD_OUT if name == split]
              for split in ("train", "validation", "test")}  # fmt: skip
    arguments: dict[str, Any] = {"class_counts": {"ham": 9, "spam": 1}, "tokenizer": gpt2_tokenizer()}
    read = [predictions(HELD_OUT).slice(row, 2) for row in (0, 2)]
    assert_same(drift_profile(read, labels=LABELS, **arguments, tokens=tokens), expected)
    assert (tmp_path / "drift_profile.json").read_bytes() == first
    assert len(first) < 10_000
