"""Folders of weights that ask for more than a machine has, or hold numbers that are none: refused from config.json and
the files' headers, before memory is taken."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lib.errors import WeightsError
from lib.inference.engines.saved import saved_engine
from lib.model.classifier import load_classifier
from lib.model.gpt2.gpt import GPT, new_gpt
from lib.model.gpt2.sizes import GPTConfig, numbers_of
from lib.model.gpt2.weights import load_gpt, save_gpt
from lib.model.hugging_face.limits import context_length_of
from lib.model.hugging_face.loading import load_config, load_network
from lib.model.usage import load_labels
from lib.model.weights.folder import read_fields
from lib.text.hugging_face import read_core
from lib.text.tokenizer_files import read_object
from tests.support.families import write_family
from tests.support.saved import save_gpt2_classifier

PROJECT = Path(__file__).resolve().parents[4]
SHAPE = GPTConfig(context_length=16, emb_dim=8, n_heads=2, n_layers=2, vocab_size=40)
HUGE = 10**9
OWN = ({"n_layer": HUGE}, {"n_embd": HUGE}, {"vocab_size": HUGE}, {"n_positions": HUGE}, {"n_layer": 10**30})
SIZES = ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size", "max_position_embeddings")
THEIRS: dict[str, list[dict[str, Any]]] = {
    "BERT": [*({name: HUGE} for name in SIZES), {"num_attention_heads": HUGE}, {"vocab_size": 2**23}],
    "Llama": [*({name: HUGE} for name in SIZES if "position" not in name), {"num_key_value_heads": HUGE}],
    "DistilBERT": [{"n_layers": HUGE}, {"dim": HUGE}, {"hidden_dim": HUGE}],
    "GPT-NeoX": [{name: HUGE} for name in SIZES],
    "GPT-2": [{"n_layer": HUGE}, {"n_positions": HUGE}, {"n_inner": HUGE}],
}
# Heads that do not divide the width, none of something, and an epsilon that is none.
WRONG: tuple[dict[str, Any], ...] = (
    {"num_attention_heads": 5},
    {"num_attention_heads": 0},
    {"hidden_size": -4},
    {"layer_norm_eps": -1e-5},
    {"layer_norm_eps": 0.0},
    {"layer_norm_eps": float("nan")},
    {"layer_norm_eps": float("inf")},
    {"text_config": {"num_hidden_layers": HUGE}},
)


def own_folder(folder: Path) -> Path:
    folder.mkdir()
    save_gpt(new_gpt(SHAPE, seed=0), folder)
    return folder


def changed(folder: Path, fields: dict[str, Any]) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
    return folder


def load_theirs(folder: Path) -> None:
    context_length_of(folder)
    load_network("AutoModel", folder, load_config(folder))


def refusal(load: Callable[[Path], Any], folder: Path) -> str:
    with pytest.raises(WeightsError) as refused:
        load(folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def most_memory() -> int:
    """Of this process so far, in bytes, as the kernel counts it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024


def refuse_all(place: Path) -> int:
    """Has every folder refused; returns the bytes that this took beyond what loading good ones takes."""
    load_gpt(own_folder(place / "good"))
    for family in THEIRS:
        load_theirs(write_family(family, place / f"good {family}"))
    before = most_memory()
    for number, fields in enumerate(OWN):
        refusal(load_gpt, changed(own_folder(place / f"{number}"), fields))
    for family, several in THEIRS.items():
        for number, fields in enumerate(several):
            refusal(load_theirs, changed(write_family(family, place / f"{family} {number}"), fields))
    return most_memory() - before


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not say how much memory it uses")
def test_sizes_that_no_file_has_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from {__name__} import refuse_all; print(refuse_all(Path({str(tmp_path)!r})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) < 100 * 2**20


@pytest.mark.parametrize("fields", WRONG, ids=str)
def test_fields_that_no_network_has(fields: dict[str, Any], tmp_path: Path) -> None:
    assert "config.json" in refusal(load_theirs, changed(write_family("BERT", tmp_path), fields))


@pytest.mark.parametrize("epsilon", [-1e-5, 0.0, float("nan"), float("inf"), 1, "1e-5"])
def test_an_epsilon_that_is_none(epsilon: Any, tmp_path: Path) -> None:
    said = refusal(load_gpt, changed(own_folder(tmp_path / "own"), {"layer_norm_epsilon": epsilon}))
    assert "it must be a number such as 1e-05" in said


@pytest.mark.parametrize("config", [SHAPE, GPTConfig(tied_output=False, n_layers=3)])
def test_numbers_are_counted_as_a_network_has_them(config: GPTConfig) -> None:
    with torch.device("meta"):
        assert numbers_of(config) == sum(each.numel() for each in GPT(config).parameters())


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("own", [True, False])
def test_numbers_that_are_none(own: bool, dtype: torch.dtype, number: float, tmp_path: Path) -> None:
    folder = own_folder(tmp_path / "own") if own else write_family("BERT", tmp_path / "theirs")
    file = folder / "model.safetensors"
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
    name = max(tensors)
    tensors[name].view(-1)[-1] = number
    save_file(tensors, file, metadata={"format": "pt"})
    said = refusal(load_gpt if own else load_theirs, folder)
    assert f"{name} has numbers that are infinite or none (NaN)" in said


def test_large_numbers_are_numbers(tmp_path: Path) -> None:
    """Whose sum is infinite."""
    folder = own_folder(tmp_path / "own")
    file = folder / "model.safetensors"
    tensors = {name: torch.full_like(tensor, 3e38) for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    load_gpt(folder)


def test_a_saved_classifier_whose_head_has_none(tmp_path: Path) -> None:
    folder = save_gpt2_classifier(tmp_path / "classifier", labels=("ham", "spam"))
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["score.weight"][0, 0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    assert "score.weight has numbers that are infinite or none" in refusal(load_classifier, folder)


READERS: dict[str, Callable[[Path], Any]] = {
    "config.json": read_fields,
    "tokenizer_config.json": read_object,
    "tokenizer.json": read_core,
    "labels.json": lambda file: load_labels(file.parent),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("text", ["[" * 200_000 + "]" * 200_000, '{"a": ' * 200_000 + "1" + "}" * 200_000])
def test_brackets_without_end(name: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert name in refusal(READERS[name], file)


def test_headers_of_brackets_and_of_lies(tmp_path: Path) -> None:
    folder = own_folder(tmp_path / "own")
    file = folder / "model.safetensors"
    lie = '{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}'
    for header in ("[" * 100_000, '{"a": ' * 100_000, lie):
        file.write_bytes(len(header).to_bytes(8, "little") + header.encode() + b"1234")
        assert "is damaged or no safetensors file" in refusal(load_gpt, folder)
    file.write_bytes((2**62).to_bytes(8, "little"))
    assert "is damaged or no safetensors file" in refusal(load_gpt, folder)


@pytest.mark.parametrize("file", ["../classifier.onnx", "/etc/passwd", "other.onnx"])
def test_a_graph_outside_of_its_folder(file: str, tmp_path: Path) -> None:
    graph = {"file": "classifier.onnx", "sha256": {"classifier.onnx": "0" * 64}, "opset": 18, "onnxruntime": "1"}
    fields = {"engine": "onnxruntime", "precision": "float32", "graph": {**graph, "pad": 0, "width": 8, "file": file}}
    (tmp_path / "engine.json").write_text(json.dumps(fields))
    assert "engine.json has graph.sha256" in refusal(saved_engine, tmp_path)
