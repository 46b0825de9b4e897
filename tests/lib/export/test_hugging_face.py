"""What is exported for transformers: its pipelines give our labels and probabilities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from lib.errors import RecipeError, WeightsError
from lib.export.hugging_face import export_classifier, export_follower
from lib.inference.predictor import Predictor
from lib.model.gpt2.weights import load_gpt
from lib.text.gpt2 import gpt2_tokenizer
from tests.support.families import FAMILIES
from tests.support.followers import write_follower
from tests.support.saved import MAX_LENGTH, save_family_classifier, save_gpt2_classifier, write_weights

pytestmark = pytest.mark.slow

WITHIN = 1e-5
TEXTS = [
    "ok",
    "Win a free prize, call now!",
    "are you coming home for lunch? " * 20,
    "Naïve café 👍",
    "I'll [SEP] call </s>",
]


def pipeline_of(folder: Path) -> list[dict[str, float]]:
    """The probabilities that transformers' pipeline gives to the texts, cut where the tokenizer says."""
    pipeline = transformers.pipeline("text-classification", model=str(folder), top_k=None)
    return [{each["label"]: each["score"] for each in row} for row in pipeline(TEXTS, truncation=True)]


def require_equal(source: Path, target: Path) -> None:
    ours = [each.probabilities for each in Predictor.load(source, device="cpu").predict(TEXTS)]
    for wanted, found in zip(ours, pipeline_of(target), strict=True):
        assert found == pytest.approx(wanted, abs=WITHIN)
    assert len({round(next(iter(each.values())), 4) for each in ours}) > 1, "the texts differ"


def test_gpt2_of_our_own_is_read_by_a_pipeline(tmp_path: Path) -> None:
    source = save_gpt2_classifier(tmp_path / "saved")
    export_classifier(source, tmp_path / "deep" / "exported")
    assert {file.name for file in (tmp_path / "deep" / "exported").iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    require_equal(source, tmp_path / "deep" / "exported")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "deep" / "exported")
    assert tokenizer.model_max_length == MAX_LENGTH


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_read_by_a_pipeline(family: str, tmp_path: Path) -> None:
    source = save_family_classifier(family, write_weights(family, tmp_path / "weights"), tmp_path / "saved")
    export_classifier(source, tmp_path / "exported")
    require_equal(source, tmp_path / "exported")


REFUSED = [
    ("BERT", {"pooling": "mean"}, "classifier.pooling 'mean', which .* bert: train with classifier.pooling 'cls', or"),
    ("Llama", {"pooling": "mean"}, "classifier.pooling 'mean', .* llama: train with classifier.pooling 'last_token'"),
    ("Llama", {"causal_mask": False}, "model.causal_mask false, .* llama: train with model.causal_mask true"),
]


@pytest.mark.parametrize(("family", "changes", "sentence"), REFUSED)
def test_what_no_class_computes_is_refused(family: str, changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    weights = write_weights(family, tmp_path / "weights")
    source = save_family_classifier(family, weights, tmp_path / "saved", **changes)
    with pytest.raises(WeightsError, match=sentence):
        export_classifier(source, tmp_path / "exported")
    assert {each.name for each in tmp_path.iterdir()} == {"weights", "saved"}


def test_gpt2_with_another_pooling_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"'mean', .* gpt2: train with classifier\.pooling 'last_token', or export"):
        export_classifier(save_gpt2_classifier(tmp_path / "saved", pooling="mean"), tmp_path / "exported")
    source = save_gpt2_classifier(tmp_path / "another", causal_mask=False)
    with pytest.raises(WeightsError, match=r"causal_mask false, .* gpt2"):
        export_classifier(source, tmp_path / "exported")


def test_other_probabilities_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    """Padding with a token that texts end with: transformers takes the last of them for padding."""
    weights = write_weights("Llama", tmp_path / "weights")
    source = save_family_classifier("Llama", weights, tmp_path / "saved")
    ends = transformers.AutoTokenizer.from_pretrained(source).convert_tokens_to_ids("k")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "pad_token_id": ends}))
    with pytest.raises(WeightsError, match=r"a folder of transformers gives other probabilities than it does here"):
        export_classifier(source, tmp_path / "exported")
    assert {each.name for each in tmp_path.iterdir()} == {"weights", "saved"}


def test_more_labels_than_dimensions_are_refused_for_gpt2(tmp_path: Path) -> None:
    source = save_gpt2_classifier(tmp_path / "saved", labels=[f"{number}" for number in range(9)])
    with pytest.raises(WeightsError, match=r"has 9 labels and 8 dimensions, .*: export with --format onnx"):
        export_classifier(source, tmp_path / "exported")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    source = save_gpt2_classifier(tmp_path / "saved")
    (tmp_path / "empty").mkdir()
    export_classifier(source, tmp_path / "empty")
    before = sorted((file.name, file.stat().st_mtime_ns) for file in (tmp_path / "empty").iterdir())
    with pytest.raises(RecipeError, match=r"empty exists already and is not empty: name a new folder"):
        export_classifier(source, tmp_path / "empty")
    assert sorted((file.name, file.stat().st_mtime_ns) for file in (tmp_path / "empty").iterdir()) == before


def test_a_follower_is_read_by_the_auto_classes(tmp_path: Path) -> None:
    source = write_follower(tmp_path / "follower")
    gpt2_tokenizer().save(source)
    export_follower(source, tmp_path / "exported")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "exported")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "exported")
    tokens = tokenizer("Q: Is it? A:", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.allclose(model(tokens).logits, load_gpt(source).eval()(tokens), atol=WITHIN)
