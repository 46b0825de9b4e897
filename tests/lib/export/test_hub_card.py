"""The card of a pushed model, as far as it is about how texts are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib.errors import WeightsError
from lib.export.hub_card import hub_card
from lib.inference.predictor import Predictor
from lib.model.usage import load_usage
from lib.text.long_texts import LongTexts
from tests.support.saved import MAX_LENGTH, save_gpt2_classifier

WINDOWS = {"method": "windows", "overlap": 2, "window_pooling": "max", "most_windows": 4}


def saying(folder: Path, long_texts: dict[str, object], **more: float) -> Path:
    """A saved classifier whose inference.json says how it reads long texts, and `more`."""
    made = save_gpt2_classifier(folder)
    file = made / "inference.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "long_texts": long_texts, **more}))
    return made


def test_a_card_says_what_a_pipeline_does_otherwise(tmp_path: Path) -> None:
    card = hub_card(saying(tmp_path / "windows", WINDOWS, temperature=2.0), "owner/name", None)
    assert (
        f"The classifier was trained to read a text of more than {MAX_LENGTH} tokens in windows of as many, which share"
        " 2 with the one before, at most 4 of a text, and takes the maximum for each label of their logits; the"
        f" tokenizer beside it cuts a text at {MAX_LENGTH} tokens, so other programs answer to longer ones otherwise.\n"
    ) in card
    assert "program alone: elsewhere divide the logits by 2 before softmax.\n" in card
    assert "other programs" not in hub_card(save_gpt2_classifier(tmp_path / "plain"), "owner/name", None)


def test_a_folder_says_by_itself_how_it_reads(tmp_path: Path) -> None:
    folder = saying(tmp_path / "windows", WINDOWS)
    assert load_usage(folder).long_texts == LongTexts("windows", overlap=2, window_pooling="max", most_windows=4)
    assert Predictor.load(folder, device="cpu").long_texts == load_usage(folder).long_texts
    head_and_tail = saying(tmp_path / "ends", {"method": "head_and_tail", "head_share": 0.5})
    assert load_usage(head_and_tail).long_texts == LongTexts("head_and_tail", head_share=0.5)


@pytest.mark.parametrize(
    ("wrong", "path"),
    [({"method": "skim"}, "method"), ({"window_pooling": "sum"}, "window_pooling"), ({"overlap": None}, "overlap")],
)
def test_a_damaged_way_of_reading_is_refused(wrong: dict[str, object], path: str, tmp_path: Path) -> None:
    folder = saying(tmp_path / "windows", {**WINDOWS, **wrong})
    with pytest.raises(WeightsError, match=rf"inference\.json has long_texts\.{path} = "):
        load_usage(folder)
