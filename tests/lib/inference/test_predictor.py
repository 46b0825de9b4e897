import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.errors import LabelError, MessagesError, WeightsError
from lib.inference import predictor as prediction
from lib.inference.predictor import Prediction, Predictor
from lib.model.classifier import class_probabilities, load_classifier
from lib.model.labels import Probabilities
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.tokens import tokenize
from tests.support.e2e import PROJECT

LABELS = ("ham", "spam & <scam>")
TEXTS = ["You are a winner", "ok", "a longer message " * 10, "see you at 8 😀", "<|endoftext|>", " padded "]


@pytest.fixture
def predictor(classifier_folder: Path) -> Predictor:
    return Predictor.load(classifier_folder, device="cpu")


def change(folder: Path, **fields: Any) -> None:
    """Give a copy of the classifier's folder other fields."""
    file = folder / "inference.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def probabilities(predictions: Iterable[Prediction]) -> Probabilities:
    return np.array([list(each.probabilities.values()) for each in predictions])


def test_predictions_are_those_of_the_training_tokens(predictor: Predictor, classifier_folder: Path) -> None:
    tokens = tokenize(TEXTS, gpt2_tokenizer(), max_length=12)
    expected = class_probabilities(
        load_classifier(classifier_folder), tokens, padding="batch", max_length=12, device="cpu"
    )
    predictions = list(predictor.predict(TEXTS))
    assert np.array_equal(probabilities(predictions), expected)
    assert [each.label for each in predictions] == [LABELS[index] for index in expected.argmax(axis=1)]
    assert {tuple(each.probabilities) for each in predictions} == {LABELS}


def test_a_saved_classifier_is_exactly_these_files(classifier_folder: Path) -> None:
    assert {file.name for file in classifier_folder.iterdir()} == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),  # as transformers reads them
        *("labels.json", "inference.json"),
    }


def test_gpt2_is_used_without_transformers(classifier_folder: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom lib.inference.predictor import Predictor\n"
        "list(Predictor.load(Path(sys.argv[1]), device='cpu').predict(['ok']))\n"
        "sys.exit('transformers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, classifier_folder], cwd=PROJECT, check=True)


def test_importing_it_imports_no_torch() -> None:
    program = "import sys, lib.inference.predictor, lib.inference.requests; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=True)


def test_padding_length_and_pooling_are_those_of_the_folder(classifier_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(classifier_folder, tmp_path / "other")
    change(folder, max_length=3, padding=7, pooling="padded_last")
    tokens = tokenize(TEXTS, gpt2_tokenizer(), max_length=3)
    expected = class_probabilities(load_classifier(folder), tokens, padding=7, max_length=3, device="cpu")
    assert np.array_equal(probabilities(Predictor.load(folder, device="cpu").predict(TEXTS)), expected)


@pytest.mark.parametrize(("positive", "threshold"), [(None, 0.02), ("ham", 0.02), ("ham", 0.98)])
def test_the_label_is_given_at_the_folders_threshold(
    predictor: Predictor, classifier_folder: Path, tmp_path: Path, positive: str | None, threshold: float
) -> None:
    folder = shutil.copytree(classifier_folder, tmp_path / "threshold")
    change(folder, positive_label=positive, threshold=threshold)
    predictions = list(Predictor.load(folder, device="cpu").predict(TEXTS))
    chosen, other = ("ham", LABELS[1]) if positive else (LABELS[1], "ham")
    assert {each.label for each in predictions} == {chosen if threshold < 0.5 else other}
    assert np.array_equal(probabilities(predictions), probabilities(predictor.predict(TEXTS)))


def test_probabilities_are_calibrated_before_the_threshold(
    predictor: Predictor, classifier_folder: Path, tmp_path: Path
) -> None:
    plain = probabilities(predictor.predict(TEXTS))
    cut = float(np.sort(plain[:, 1])[2:4].mean())  # between two texts
    odds = cut / (1 - cut)
    folder = shutil.copytree(classifier_folder, tmp_path / "calibrated")
    change(folder, temperature=2.0, threshold=odds**0.5 / (1 + odds**0.5))  # the same text at half the log-odds
    loaded = Predictor.load(folder, device="cpu")
    predictions = list(loaded.predict(TEXTS))
    roots = np.sqrt(plain)
    assert probabilities(predictions) == pytest.approx(roots / roots.sum(axis=1, keepdims=True), abs=1e-12)
    assert [each.label == LABELS[1] for each in predictions] == (plain[:, 1] >= cut).tolist()
    assert (predictor.calibrated, loaded.calibrated) == (False, True)


def test_a_threshold_for_labels_that_are_not_there_is_refused(classifier_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(classifier_folder, tmp_path / "junk")
    change(folder, positive_label="junk")
    with pytest.raises(LabelError, match="'junk', but the labels are ham"):
        Predictor.load(folder)


def test_texts_are_read_a_window_at_a_time_and_answered_in_order(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "WINDOW", 4)
    texts = [f"message {'long ' * (number % 3)}{number}" for number in range(10)]
    read: list[str] = []

    def reading() -> Iterator[str]:
        for text in texts:
            read.append(text)
            yield text

    predictions = predictor.predict(reading())
    first = next(predictions)
    assert len(read) == 4
    apart = probabilities([first, *predictions])
    assert len(read) == 10
    alone = np.concatenate([probabilities(predictor.predict([text])) for text in texts])
    assert apart == pytest.approx(alone, abs=1e-6)


def test_no_texts_give_no_predictions(predictor: Predictor) -> None:
    assert list(predictor.predict([])) == []


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["fine", ""], "text 2 is empty"),
        (["  \n"], "text 1 is empty"),
        (["a", "b", None], "text 3 is not a string but None"),
        ([5], "text 1 is not a string but 5"),
    ],
)
def test_what_is_no_text_is_named_by_its_position(predictor: Predictor, texts: list[Any], sentence: str) -> None:
    with pytest.raises(MessagesError, match=sentence):
        list(predictor.predict(texts))


def test_positions_count_on_over_windows(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "WINDOW", 2)
    with pytest.raises(MessagesError, match="text 4 is empty"):
        list(predictor.predict(["a", "b", "c", ""]))


@pytest.mark.parametrize("length", [None, "12"])
def test_a_length_that_is_no_number_is_refused(classifier_folder: Path, tmp_path: Path, length: str | None) -> None:
    folder = shutil.copytree(classifier_folder, tmp_path / "unresolved")
    change(folder, max_length=length)
    with pytest.raises(WeightsError, match=rf"inference.json has max_length = {length!r}: train the model again"):
        Predictor.load(folder)
