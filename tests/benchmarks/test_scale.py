"""benchmarks.scale: sizes that were measured are predicted by the others, counts are those of the code, and the page is
current."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.scale import __main__ as command
from benchmarks.scale.case import UTILISATION, Case
from benchmarks.scale.limits import limits
from benchmarks.scale.measured import TRAIN, card_flops, read
from benchmarks.scale.network import backbone
from benchmarks.scale.page import PAGE, PAPER, everything, page_with_tables, predictions
from benchmarks.scale.storage import CHUNK, Kept, artifacts, feature_bytes
from lib.model.features.choice import FeatureSize
from lib.model.gpt2.sizes import numbers_of
from lib.recipes.classifier import Split

CLOSE = 0.25
SIZES = (10_000, 100_000, 1_000_000)


@pytest.mark.parametrize("size", SIZES)
def test_a_measured_size_is_predicted_by_the_others(size: int) -> None:
    measured = read()
    assert size in measured.sizes
    found = predictions(measured, [size])[size]
    assert found.keys() >= {"seconds", "peak"}
    assert {name: pair for name, pair in found.items() if abs(pair[1] / pair[0] - 1) > CLOSE} == {}


def test_a_prediction_does_not_know_what_was_measured_there() -> None:
    measured = read()
    size = SIZES[1]
    assert size not in measured.without(size).sizes
    wrong = {**measured.runs[size], "messages": {**measured.runs[size]["messages"], "processor": 1e6}}
    other = replace(measured, runs={**measured.runs, size: wrong})
    one, two = (predictions(each, [size])[size]["seconds"] for each in (measured, other))
    assert one[1] == two[1]
    assert two[0] > one[0] + 9e5


def test_the_bytes_of_artifacts_are_those_that_were_measured() -> None:
    """The messages of benchmarks.volume have 40.3 tokens and 90 bytes of text."""
    size, measured = 100_000, read()
    tokens = (measured.runs[size]["tokenize"]["size"] / size - 20) / 4
    case = Case(messages=size, tokens=tokens, letters=90 / tokens, train=TRAIN, validation=TRAIN)
    for each in artifacts(case):
        if each.name in ("download", "messages", "balance", "split", "holdout", "tokenize", "evaluate"):
            assert each.size == pytest.approx(measured.runs[size][each.name]["size"], rel=CLOSE), each.name


def test_operations_are_counted_from_parameters() -> None:
    small = backbone("gpt2")
    parts = small.config.n_layers * small.block_parameters
    outside = small.config.emb_dim * (small.config.vocab_size + small.config.context_length + 2)
    assert parts + outside == numbers_of(small.config) == 124_439_808
    assert small.forward(0) == 2 * parts
    assert small.forward(30) - small.forward(0) == 4 * 12 * 768 * 30
    assert small.training(30) == 3 * small.forward(30)
    assert small.features(30) == small.forward(30) * 11 / 12
    with pytest.raises(ValueError, match="no backbone 'bert'"):
        backbone("bert")


def test_the_share_of_a_card_is_what_classifying_reached() -> None:
    name, flops = card_flops()
    assert name == "NVIDIA H200"
    assert 54_000 * 30 * backbone("gpt2").forward(30) / flops == pytest.approx(UTILISATION, rel=0.05)


def test_requests_follow_from_the_size_of_files() -> None:
    assert Kept("small", 1, 3 * CHUNK, 3).writes == 3 + 6
    assert Kept("large", 1, 3 * (2 * CHUNK + 1), 3).writes == 3 * (3 + 2) + 6
    assert Kept("large", 1, 3 * (2 * CHUNK + 1), 3).reads == 3 + 1


def test_features_take_what_the_recipe_counts_and_shares_are_its_defaults() -> None:
    case = Case()
    assert feature_bytes(case) * 1000 == pytest.approx(FeatureSize(30_000, 768, "bfloat16").gib * 2**30)
    of_recipe = [Split.model_fields[name].default for name in ("train", "validation", "test")]
    assert [case.train, case.validation, case.test] == pytest.approx(of_recipe)


def test_limits_come_in_order_and_those_of_memory_with_the_machine() -> None:
    case, measured = Case(), read()
    found = limits(case, measured)
    assert [each.messages for each in found] == sorted(each.messages for each in found)
    small = replace(case, machine=replace(case.machine, memory=16))
    less = {each.what: each.messages for each in limits(small, measured)}
    shrunk = [each for each in found if less[each.what] < each.messages]
    assert {each.what for each in shrunk} == {each.what for each in found if "memory" in each.what}
    assert len(shrunk) == 5


def test_the_page_is_what_the_simulator_says() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page_with_tables(page, everything(PAPER, read())) == page


def test_other_cases_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--messages", "1e6", "--backbone", "tiny", "--workers", "4", "--only", "artifacts"]) == 0
    printed = capsys.readouterr().out
    assert "| tokenize | 140 | 140 MB | 8 |" in printed
    with pytest.raises(SystemExit):
        command.main(["--backbone", "bert"])
    assert "invalid" in capsys.readouterr().err
