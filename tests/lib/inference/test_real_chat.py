"""A model that was really made for conversations, asked as it was trained to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.inference.answerer import Answerer
from lib.model.hugging_face.writing import pretrained_transformer
from lib.model.language_model import Writing
from lib.text.prompts import chosen_style
from lib.text.tokenizer import load_tokenizer
from lib.text.tokenizer_folder import prepare_tokenizer
from tests.support.entries import entry
from tests.support.real_models import real_model


@pytest.mark.models
@pytest.mark.slow
def test_smollm2_knows_the_capital_of_france_and_ends_its_turn(tmp_path: Path) -> None:
    folder = real_model("smollm2-135m-instruct")
    prepare_tokenizer(folder, tmp_path)
    style, reader = chosen_style("auto", tmp_path), load_tokenizer(tmp_path)
    assert style.prompt("What is the capital of France?").startswith("<|im_start|>system\nYou are a helpful AI")
    assert style.end == "<|im_end|>"
    model = pretrained_transformer(folder, context_length=8192, pad=reader.pad)
    answerer = Answerer(model, style, reader, "float32", Writing(max_new_tokens=32, batch_size=2))
    first, second = answerer.write([("What is the capital of France?", ""), ("Say hello.", "")])
    assert "Paris" in first.response
    assert first.stopped
    assert answerer.write([("Say hello.", "")]) == [second]
    (written,) = model.generate(
        [entry(reader, "The capital of France is", "")[0]], Writing(max_new_tokens=4, batch_size=1), stops=()
    )
    assert reader.decode(written.tokens).startswith(" Paris")
