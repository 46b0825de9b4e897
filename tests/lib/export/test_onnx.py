"""What is exported as ONNX: ONNX Runtime gives our probabilities, alone and in batches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from torch import Tensor

from lib.errors import WeightsError
from lib.export.onnx import export_onnx
from lib.inference.predictor import Predictor
from lib.model.backbone import Pooling
from lib.model.gpt2.pooled import PooledGPT
from tests.support.e2e import PROJECT
from tests.support.saved import LABELS, save_gpt2_classifier

pytestmark = pytest.mark.slow

WITHIN = 1e-5
TEXTS = ["ok", "Win a free prize, call now!", "are you coming home for lunch? " * 20, "I'll [SEP] call </s>"]


def require_equal(source: Path, target: Path) -> None:
    session = onnxruntime.InferenceSession(target / "model.onnx", providers=["CPUExecutionProvider"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(target)
    predictor = Predictor.load(source, device="cpu")
    wanted = np.array([list(each.probabilities.values()) for each in predictor.predict(TEXTS)])
    for rows in ([0, 1, 2, 3], [0], [2], [1, 3]):
        batch = tokenizer([TEXTS[row] for row in rows], truncation=True, padding=True, return_tensors="np")
        inputs = {name: batch[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
        (logits,) = session.run(["logits"], inputs)
        found = torch.from_numpy(logits).softmax(dim=1).numpy()
        assert np.abs(found - wanted[rows]).max() < WITHIN
    assert [(each.name, each.type) for each in session.get_inputs()] == [
        ("input_ids", "tensor(int64)"), ("attention_mask", "tensor(int64)"),
    ]  # fmt: skip


@pytest.mark.parametrize(("pooling", "causal_mask"), [("last_token", True), ("mean", False)])
def test_gpt2_of_our_own(pooling: Pooling, causal_mask: bool, tmp_path: Path) -> None:
    source = save_gpt2_classifier(tmp_path / "saved", pooling=pooling, causal_mask=causal_mask)
    export_onnx(source, tmp_path / "exported")
    assert {file.name for file in (tmp_path / "exported").iterdir()} == {
        "config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    require_equal(source, tmp_path / "exported")
    assert str(PROJECT).encode() not in (tmp_path / "exported" / "model.onnx").read_bytes()
    config = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert config["id2label"] == {str(index): label for index, label in enumerate(LABELS)}


def test_answers_that_depend_on_padding_are_refused(tmp_path: Path) -> None:
    source = save_gpt2_classifier(tmp_path / "saved", pooling="padded_last")
    with pytest.raises(WeightsError, match=r"'padded_last', .*: train with classifier\.pooling 'last_token'$"):
        export_onnx(source, tmp_path / "exported")
    assert {each.name for each in tmp_path.iterdir()} == {"saved"}


def test_what_cannot_be_traced_is_named_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = PooledGPT.whole

    def branching(self: PooledGPT, tokens: Tensor, lengths: Tensor) -> Tensor:
        return whole(self, tokens, lengths) if tokens.sum() > 3 else whole(self, tokens + 1, lengths)

    monkeypatch.setattr(PooledGPT, "whole", branching)
    source = save_gpt2_classifier(tmp_path / "saved")
    with pytest.raises(WeightsError, match=r"^a classifier on gpt2 cannot be written as ONNX \(.+\): export with"):
        export_onnx(source, tmp_path / "exported")
    assert {each.name for each in tmp_path.iterdir()} == {"saved"}


def test_other_probabilities_are_refused_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = PooledGPT.whole
    monkeypatch.setattr(PooledGPT, "whole", lambda self, tokens, lengths: whole(self, tokens, lengths) + 0.01)
    source = save_gpt2_classifier(tmp_path / "saved")
    with pytest.raises(WeightsError, match=r"^the classifier as ONNX gives other probabilities than it does here"):
        export_onnx(source, tmp_path / "exported")
    assert {each.name for each in tmp_path.iterdir()} == {"saved"}
