"""A saved classifier on ONNX Runtime: torch's answers without torch, whatever is asked beside them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from lib.errors import ExtraError, FinetuneError, MessagesError, WeightsError
from lib.export import onnx as exporting
from lib.files.checksum import file_sha256
from lib.inference.engines.engine import ALIKE
from lib.inference.engines.loading import load_engine
from lib.inference.engines.onnx_engine import OnnxEngine, open_session
from lib.inference.engines.saved import SavedEngine, saved_engine
from lib.inference.engines.torch_engine import TorchEngine
from lib.inference.predictor import Predictor
from lib.model.backbone import Pooling
from lib.model.labels import Probabilities
from lib.model.machine.processor import WORTH_SHARING, processors, sensible_processors
from tests.support.e2e import PROJECT
from tests.support.saved import (
    LABELS,
    MAX_LENGTH,
    save_family_classifier,
    save_gpt2_classifier,
    write_engine_file,
    write_weights,
)

TEXTS = ["Win a free prize, call now!", "ok", "are you coming home for lunch? " * 20, "call", "I'll [SEP] call </s>"]
POOLED: list[tuple[str, Pooling, bool]] = [
    ("BERT", "cls", True),
    ("RoBERTa", "mean", True),
    ("DistilBERT", "cls", True),
    ("ELECTRA", "cls", True),
    ("MPNet", "mean", True),
    ("DeBERTa-v2", "cls", True),
    ("ModernBERT", "mean", True),
    ("GPT-2", "last_token", True),
    ("Llama", "last_token", True),
    ("Qwen3", "mean", False),
    ("Gemma 3", "last_token", True),
    ("OPT", "last_token", True),
]


def probabilities(predictor: Predictor, texts: Sequence[str]) -> Probabilities:
    return np.array([list(each.probabilities.values()) for each in predictor.predict(texts)])


def require_torchs_answers(folder: Path) -> None:
    """Exports a classifier's float32 engine into its own folder, and compares what it is served with."""
    wanted = probabilities(Predictor.load(folder, device="cpu"), TEXTS)
    write_engine_file(folder, folder)
    predictor = Predictor.load(folder)
    assert (predictor.engine.name, predictor.engine.precision, predictor.labels) == ("onnxruntime", "float32", LABELS)
    found = probabilities(predictor, TEXTS)
    assert np.abs(found - wanted).max() < 1e-5
    alone = np.concatenate([probabilities(predictor, [text]) for text in TEXTS])
    assert np.abs(found - alone).max() < ALIKE
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-4  # texts differ in what is computed of them


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a classifier on our GPT-2 that is served with ONNX Runtime. To be read only."""
    folder = save_gpt2_classifier(tmp_path_factory.mktemp("exported") / "saved")
    write_engine_file(folder, folder)
    return folder


@pytest.fixture
def served(exported: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to be changed."""
    return shutil.copytree(exported, tmp_path / "served")


def change(folder: Path, **fields: object) -> None:
    file = folder / "engine.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


# -- the answers --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("family", "pooling", "causal_mask"), POOLED)
def test_families_answer_as_torch_does(family: str, pooling: Pooling, causal_mask: bool, tmp_path: Path) -> None:
    layers = {"n_layer" if family == "GPT-2" else "num_hidden_layers": 2}  # the time to export grows with them
    weights = write_weights(family, tmp_path / "weights", **layers)
    require_torchs_answers(
        save_family_classifier(family, weights, tmp_path / "saved", pooling=pooling, causal_mask=causal_mask)
    )


def test_our_gpt2_answers_as_torch_does(tmp_path: Path) -> None:
    """With the pooling that tests/lib/export/test_onnx.py leaves out."""
    require_torchs_answers(save_gpt2_classifier(tmp_path / "saved", pooling="first_token", causal_mask=False))


def test_long_texts_are_cut_and_empty_ones_refused(exported: Path) -> None:
    engine = load_engine(exported)
    cut, whole = engine.probabilities([list(range(MAX_LENGTH)), list(range(200))])
    assert np.array_equal(cut, whole)
    assert engine.probabilities([]).shape == (0, 3)
    with pytest.raises(MessagesError, match="no tokens"):
        engine.probabilities([[1], []])


def test_batches_computed_at_once_answer_as_one_after_the_other(exported: Path) -> None:
    engine = load_engine(exported)
    assert isinstance(engine, OnnxEngine)
    sequences = [[1 + (row + place) % 50 for place in range(1 + row % 30)] for row in range(400)]
    heard: list[tuple[int, int | None, str]] = []
    at_once = replace(engine, workers=3).probabilities(sequences, progress=lambda *said: heard.append(said))
    assert np.array_equal(at_once, replace(engine, workers=1).probabilities(sequences))
    assert (heard[-1], len(heard) > 3) == ((400, 400, "messages"), True)


def test_progress_counts_messages(exported: Path) -> None:
    heard: list[tuple[int, int | None, str]] = []
    engine = load_engine(exported)
    engine.probabilities([[1]] * 600, progress=lambda *step: heard.append(step))
    assert heard == [(512, 600, "messages"), (600, 600, "messages")]


def test_the_command_that_answers_a_text_imports_no_torch(exported: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom lib.inference.predictor import Predictor\n"
        "list(Predictor.load(Path(sys.argv[1])).predict(['ok']))\n"
        "sys.exit(bool({'torch', 'transformers', 'onnx', 'safetensors'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", program, exported], cwd=PROJECT, check=True)


# -- the files ----------------------------------------------------------------------------------------------------


def test_the_folder_says_what_it_is_served_with(exported: Path) -> None:
    assert json.loads((exported / "engine.json").read_text()) == {
        "engine": "onnxruntime",
        "precision": "float32",
        "graph": {
            "file": "model.onnx",
            "sha256": {"model.onnx": file_sha256(exported / "model.onnx")},
            "opset": onnx.load(exported / "model.onnx").opset_import[0].version,
            "onnxruntime": onnxruntime.__version__,
            "pad": 50256,
            "width": 8,
        },
    }


def test_the_same_classifier_gives_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    write_engine_file(exported, tmp_path)
    for name in ("model.onnx", "engine.json"):
        assert (tmp_path / name).read_bytes() == (exported / name).read_bytes()


def test_large_weights_lie_beside_the_graph_and_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "INSIDE", 1000)
    folder = save_gpt2_classifier(tmp_path / "saved")
    wanted = probabilities(Predictor.load(folder, device="cpu"), TEXTS)
    graph = write_engine_file(folder, folder).graph
    assert graph is not None
    assert set(graph.sha256) == {"model.onnx", "model.onnx.data"}
    predictor = Predictor.load(folder)
    assert np.abs(probabilities(predictor, TEXTS) - wanted).max() < 1e-5
    maps = Path("/proc/self/maps")
    if maps.is_file():
        assert f"{folder / 'model.onnx.data'}" in maps.read_text()
    with (folder / "model.onnx.data").open("ab") as file:
        file.write(b"!")
    with pytest.raises(WeightsError, match=r"model\.onnx\.data is not the file that .*engine\.json names"):
        Predictor.load(folder)


def test_without_the_file_it_is_torch_in_the_precision_of_the_training(classifier_folder: Path) -> None:
    engine = load_engine(classifier_folder, device="cpu")
    assert isinstance(engine, TorchEngine)
    assert (engine.name, engine.precision) == ("torch", "float32")


def test_torch_computes_in_the_precision_that_the_file_names(classifier_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(classifier_folder, tmp_path / "saved")
    SavedEngine("torch", "bfloat16").save(folder)
    assert json.loads((folder / "engine.json").read_text()) == {"engine": "torch", "precision": "bfloat16"}
    engine = load_engine(folder, device="cpu")
    assert isinstance(engine, TorchEngine)
    assert engine.precision == "bfloat16"
    exact, rough = (each.probabilities([[1, 2, 3]]) for each in (load_engine(classifier_folder, device="cpu"), engine))
    assert 0 < np.abs(exact - rough).max() < 0.05


# -- refusals -----------------------------------------------------------------------------------------------------


def require_refusal(
    folder: Path, sentence: str, kind: type[FinetuneError] = WeightsError, device: str = "auto"
) -> None:
    with pytest.raises(kind, match=sentence):
        Predictor.load(folder, device=device)


def test_another_file_is_refused(served: Path) -> None:
    with (served / "model.onnx").open("ab") as file:
        file.write(b"!")
    require_refusal(served, r"model\.onnx is not the file .* \(another sha256\), .*: register the model again$")


def test_a_missing_file_is_refused(served: Path) -> None:
    (served / "model.onnx").unlink()
    require_refusal(served, r"model\.onnx does not exist, .*: register the model again$")


def test_what_onnxruntime_cannot_compute_is_refused(served: Path) -> None:
    (served / "model.onnx").write_bytes(b"no graph")
    graph = json.loads((served / "engine.json").read_text())["graph"]
    change(served, graph={**graph, "sha256": {"model.onnx": file_sha256(served / "model.onnx")}})
    require_refusal(served, rf"cannot be computed by onnxruntime {onnxruntime.__version__} \(.*\): install the version")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"engine": "tensorrt"}, "has engine = 'tensorrt': train"),
        ({"precision": "bfloat16"}, "has precision = 'bfloat16': train"),
        ({"engine": "torch", "precision": "int8"}, "has precision = 'int8': train"),
        ({"graph": None}, r"has graph\.file = None: train"),
    ],
)
def test_a_damaged_engine_file_is_refused(served: Path, fields: dict[str, object], sentence: str) -> None:
    change(served, **fields)
    require_refusal(served, sentence)


def test_a_missing_package_is_named_with_its_extra(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = util.find_spec
    monkeypatch.setattr("lib.extras.find_spec", lambda name: None if name == "onnxruntime" else find_spec(name))
    require_refusal(
        exported, r"needs the package onnxruntime, .*: run `pip install 'finetune-flows\[onnx\]'`$", ExtraError
    )


def test_the_graph_may_lie_elsewhere(exported: Path, tmp_path: Path) -> None:
    elsewhere, alone = tmp_path / "engine", tmp_path / "classifier"
    shutil.copytree(exported, alone, ignore=shutil.ignore_patterns("engine.json", "model.onnx"))
    elsewhere.mkdir()
    for name in ("engine.json", "model.onnx"):
        shutil.copyfile(exported / name, elsewhere / name)
    engine = load_engine(alone, engine=elsewhere)
    assert np.array_equal(engine.probabilities([[1, 2]]), load_engine(exported).probabilities([[1, 2]]))


def test_the_device_is_that_of_torch(exported: Path) -> None:
    assert load_engine(exported, device="cuda").name == "onnxruntime"


def test_answers_that_depend_on_padding_are_refused(tmp_path: Path) -> None:
    folder = save_gpt2_classifier(tmp_path / "saved", pooling="padded_last")
    with pytest.raises(WeightsError, match="'padded_last', whose answers depend on how texts are padded"):
        write_engine_file(folder, folder)
    assert not (folder / "engine.json").exists()


def test_threads_may_be_given(exported: Path) -> None:
    assert open_session(exported / "model.onnx", threads=3).get_session_options().intra_op_num_threads == 3
    saved = saved_engine(exported)
    assert saved.graph is not None
    engine = OnnxEngine.load(exported, saved.precision, saved.graph, threads=3)
    assert engine.session.get_session_options().intra_op_num_threads == 3


def test_a_narrow_network_gets_one_thread(exported: Path) -> None:
    engine = load_engine(exported)
    assert isinstance(engine, OnnxEngine)
    assert engine.session.get_session_options().intra_op_num_threads == 1
    assert sensible_processors(WORTH_SHARING) == processors()
