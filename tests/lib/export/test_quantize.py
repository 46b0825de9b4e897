"""Classifiers in int8: they answer nearly as in float32, alone as among others, and damage is seen and refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from lib.errors import WeightsError
from lib.evaluation.classify.agreement import Candidate, choose, measure_agreement
from lib.evaluation.classify.speed import Speed
from lib.export.graph import Floats
from lib.export.onnx import export_onnx
from lib.export.quantize import blocks_of_8_bits, int8_but, int8_per_channel, sensitive_layers
from lib.inference.engines.engine import ALIKE
from tests.support.onnx_files import VOCABULARY, WIDTH, ask, operators, write_layers
from tests.support.saved import save_family_classifier, save_gpt2_classifier, write_weights

DRAW = np.random.default_rng(7)
TEXTS = [DRAW.integers(1, VOCABULARY, size).tolist() for size in DRAW.integers(2, 14, 400)]
INT8, BLOCKS = "MatMulIntegerToFloat", "MatMulNBits"


@pytest.fixture
def float32(tmp_path: Path) -> Path:
    """A classifier of four layers."""
    return write_layers(tmp_path / "float32.onnx", [1, 1, 1, 1])


def differences(file: Path, other: Path, *, pad: int = 0) -> Floats:
    return np.abs(ask(file, TEXTS, pad=pad) - ask(other, TEXTS, pad=pad))


def difference(file: Path, other: Path, *, pad: int = 0) -> float:
    return float(differences(file, other, pad=pad).max())


def require_alike(file: Path, *, pad: int = 0) -> None:
    """The answers do not depend on what is asked beside."""
    alone = np.concatenate([ask(file, [text], pad=pad) for text in TEXTS[:8]])
    assert np.abs(ask(file, TEXTS, pad=pad)[:8] - alone).max() < ALIKE


def test_layers_are_computed_in_int8_and_the_head_is_not(float32: Path, tmp_path: Path) -> None:
    int8_per_channel(float32, tmp_path / "int8.onnx", TEXTS)
    found = operators(tmp_path / "int8.onnx")
    assert Counter(found.values())[INT8] == 4
    assert Counter(found.values())["QuantizeLinear"] == 1  # all read the same, which is rounded once
    assert found["logits"] == "Gemm"
    assert 0 < difference(float32, tmp_path / "int8.onnx") < 0.02
    require_alike(tmp_path / "int8.onnx")


def test_layers_that_are_left_out_stay_in_float32(float32: Path, tmp_path: Path) -> None:
    int8_but(["layer.2"], float32, tmp_path / "but.onnx", TEXTS)
    found = operators(tmp_path / "but.onnx")
    assert found["layer.2"] == "MatMul"
    assert Counter(found.values())[INT8] == 3
    int8_but([f"layer.{index}" for index in range(4)], float32, tmp_path / "none.onnx", TEXTS)
    assert difference(float32, tmp_path / "none.onnx") == 0


def test_blocks_are_nearer_than_channels(float32: Path, tmp_path: Path) -> None:
    int8_per_channel(float32, tmp_path / "int8.onnx", TEXTS)
    blocks_of_8_bits(float32, tmp_path / "blocks.onnx")
    assert Counter(operators(tmp_path / "blocks.onnx").values())[BLOCKS] == 4
    assert (
        0 < differences(float32, tmp_path / "blocks.onnx").mean() < differences(float32, tmp_path / "int8.onnx").mean()
    )
    require_alike(tmp_path / "blocks.onnx")


def test_layers_with_a_bias_keep_it(tmp_path: Path) -> None:
    source = write_layers(tmp_path / "float32.onnx", [0.1, 0.1], gemm=True)
    int8_per_channel(source, tmp_path / "int8.onnx", TEXTS)
    blocks_of_8_bits(source, tmp_path / "blocks.onnx")
    for name, operator in (("int8", INT8), ("blocks", BLOCKS)):
        assert Counter(operators(tmp_path / f"{name}.onnx").values())[operator] == 2
        assert 0 < difference(source, tmp_path / f"{name}.onnx") < 0.02


def test_a_token_with_huge_numbers_does_not_coarsen_the_others(tmp_path: Path) -> None:
    source = write_layers(tmp_path / "float32.onnx", [1, 1, 1, 1], padding=1e6)
    int8_per_channel(source, tmp_path / "int8.onnx", TEXTS)
    texts = [[5, 6, 7], [5, 6, 7, 8, 9]]  # the first is padded with token 0, which the layers read too
    assert (
        np.abs(ask(tmp_path / "int8.onnx", texts) - ask(source, texts)).max() < 0.02
    )  # 0.19 with one scale for all tokens


def test_no_sum_of_neighbouring_products_is_cut_off(float32: Path, tmp_path: Path) -> None:
    """Processors without VNNI add two products in 16 bits, so that the same file would answer otherwise there."""
    int8_per_channel(float32, tmp_path / "int8.onnx", TEXTS)
    constants = {each.name: numpy_helper.to_array(each) for each in onnx.load(tmp_path / "int8.onnx").graph.initializer}
    for index in range(4):
        pairs = constants[f"layer.{index}.weights"].astype(int).reshape(-1, 2, WIDTH)
        largest = max(np.maximum(sign * pairs, 0).sum(axis=1).max() for sign in (1, -1))
        assert 120 < largest <= np.iinfo(np.int16).max // np.iinfo(np.uint8).max


def test_the_same_file_gives_the_same_bytes(float32: Path, tmp_path: Path) -> None:
    written = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        int8_but(("layer.1",), float32, folder / "int8.onnx", TEXTS)
        blocks_of_8_bits(float32, folder / "blocks.onnx")
        blocks_of_8_bits(float32, folder / "blocks.onnx")  # written again, not added to
        written.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {"int8.onnx", "int8.onnx.data", "blocks.onnx", "blocks.onnx.data"}
    assert sensitive_layers(float32, TEXTS, pad=0) == sensitive_layers(float32, TEXTS, pad=0)


def test_the_layer_on_which_answers_depend_is_found(tmp_path: Path) -> None:
    factors = [0.01] * 12  # one layer is less than a tenth of all weights, two are more
    factors[7] = 1
    source = write_layers(tmp_path / "float32.onnx", factors)
    assert sensitive_layers(source, TEXTS, pad=0) == ("layer.7",)


def test_nothing_is_said_and_nothing_is_left(float32: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "made").mkdir()
    int8_but(sensitive_layers(float32, TEXTS, pad=0), float32, tmp_path / "made" / "int8.onnx", TEXTS)
    assert capfd.readouterr() == ("", "")
    assert {file.name for file in (tmp_path / "made").iterdir()} == {"int8.onnx", "int8.onnx.data"}


def test_a_classifier_without_layers_is_refused(tmp_path: Path) -> None:
    source = write_layers(tmp_path / "float32.onnx", [])
    with pytest.raises(WeightsError, match=r"no layers that int8 could compute: leave serving\.precision at float32$"):
        blocks_of_8_bits(source, tmp_path / "blocks.onnx")


def test_a_damaged_file_is_refused_and_a_sound_one_is_chosen(float32: Path, tmp_path: Path) -> None:
    int8_per_channel(float32, tmp_path / "int8.onnx", TEXTS)
    damaged = onnx.load(tmp_path / "int8.onnx")
    for tensor in damaged.graph.initializer:
        if tensor.name == "layer.1.scale":  # those of the next channel
            tensor.CopyFrom(numpy_helper.from_array(np.roll(numpy_helper.to_array(tensor), 1) * 2, tensor.name))
    onnx.save_model(damaged, tmp_path / "damaged.onnx")
    reference = ask(float32, TEXTS)
    targets = reference.argmax(axis=1)
    candidates = [
        Candidate(
            name,
            measure_agreement(targets, ask(tmp_path / name, TEXTS), reference, labels=("a", "b", "c"), positive=None),
            Speed(rate, 1.0),
        )
        for name, rate in (("float32.onnx", 100), ("int8.onnx", 400), ("damaged.onnx", 900))
    ]
    choice = choose(candidates, 0.02)
    assert choice.name == "int8.onnx"
    assert choice.refused.keys() == {"damaged.onnx"}
    assert "messages another label than float32" in choice.refused["damaged.onnx"]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "BERT", "Llama"])
def test_networks_that_were_exported(family: str, tmp_path: Path) -> None:
    if family == "gpt2":
        source = save_gpt2_classifier(tmp_path / "saved")
    else:
        weights = write_weights(family, tmp_path / "weights", num_hidden_layers=2)  # the time to export grows with them
        source = save_family_classifier(family, weights, tmp_path / "saved")
    export_onnx(source, tmp_path / "exported")
    float32 = tmp_path / "exported" / "model.onnx"
    constant = {tensor.name for tensor in onnx.load(float32).graph.initializer}
    nodes = onnx.load(float32).graph.node
    products = [each for each in nodes if each.op_type in ("MatMul", "Gemm") and each.input[1] in constant]
    int8_but(sensitive_layers(float32, TEXTS, pad=0), float32, tmp_path / "but.onnx", TEXTS)
    int8_per_channel(float32, tmp_path / "int8.onnx", TEXTS)
    blocks_of_8_bits(float32, tmp_path / "blocks.onnx")
    for name, operator in (("int8", INT8), ("blocks", BLOCKS)):
        assert Counter(operators(tmp_path / f"{name}.onnx").values())[operator] == len(products) - 1 >= 8
    for name in ("int8", "but", "blocks"):
        # The mean, because a network with large random weights amplifies any rounding in a few texts.
        assert 0 < np.abs(ask(float32, TEXTS) - ask(tmp_path / f"{name}.onnx", TEXTS)).mean() < 0.03
        require_alike(tmp_path / f"{name}.onnx")
