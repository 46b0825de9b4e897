import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch
from safetensors.numpy import load_file, save_file

from benchmarks.weights_memory import measure
from lib.errors import RecipeError, WeightsError
from lib.model.gpt2.config import read_config
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pretrained import load_pretrained
from lib.model.gpt2.sizes import SIZES, GPTConfig
from lib.model.gpt2.weights import load_gpt, save_gpt
from lib.model.places import fetch_weights, find_weights, model_config, weights_identity
from lib.model.weights.folder import CONVERTED
from lib.model.weights.tensors import TYPES, write_tensors
from lib.text.tokenizer import load_tokenizer
from lib.text.tokenizer_folder import prepare_tokenizer
from tests.support.families import write_family
from tests.support.tiny_tokenizers import byte_pair, wordpiece

pytestmark = pytest.mark.slow

Array = npt.NDArray[Any]

SLACK = 8 * 2**20  # bytes: Python's own objects, and the kernel's counting by the page and by the processor

WIDTH, HEADS, LAYERS, EPSILON = 12, 3, 2, 1e-3
CONFIG = {
    "model_type": "gpt2",
    "n_embd": WIDTH,
    "n_head": HEADS,
    "n_layer": LAYERS,
    "n_positions": 10,
    "vocab_size": 31,
    "layer_norm_epsilon": EPSILON,
    "activation_function": "gelu_new",
}


def random_tensors() -> dict[str, Array]:
    """A GPT-2 of CONFIG's shape under transformers' names: every tensor random, norms and biases too."""
    draw = np.random.default_rng(0).standard_normal
    width = WIDTH
    tensors = {"wte.weight": draw((31, width)), "wpe.weight": draw((10, width))}
    for layer in range(LAYERS):
        shapes: dict[str, tuple[int, ...]] = {
            "ln_1": (width,),
            "attn.c_attn": (width, 3 * width),
            "attn.c_proj": (width, width),
            "ln_2": (width,),
            "mlp.c_fc": (width, 4 * width),
            "mlp.c_proj": (4 * width, width),
        }
        for name, shape in shapes.items():
            tensors[f"h.{layer}.{name}.weight"] = draw(shape) * 0.5
            tensors[f"h.{layer}.{name}.bias"] = draw(shape[-1])
    tensors |= {"ln_f.weight": draw(width), "ln_f.bias": draw(width)}
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


def plain_logits(weights: dict[str, Array], tokens: Array) -> Array:
    """The formulas of GPT-2 one position and one head at a time, in float64: tokens (length,) -> (length, vocab)."""
    w = {name: tensor.astype(np.float64) for name, tensor in weights.items()}

    def linear(x: Array, name: str) -> Array:
        result: Array = x @ w[f"{name}.weight"] + w[f"{name}.bias"]
        return result

    def norm(x: Array, name: str) -> Array:
        spread = math.sqrt(((x - x.mean()) ** 2).mean() + EPSILON)
        result: Array = (x - x.mean()) / spread * w[f"{name}.weight"] + w[f"{name}.bias"]
        return result

    def gelu(x: Array) -> Array:
        result: Array = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        return result

    stream = [w["wte.weight"][token] + w["wpe.weight"][place] for place, token in enumerate(tokens)]
    for layer in range(LAYERS):
        name = f"h.{layer}"
        parts = [np.split(linear(norm(x, f"{name}.ln_1"), f"{name}.attn.c_attn"), 3) for x in stream]
        for place in range(len(stream)):
            mixed = []
            for head in range(HEADS):
                piece = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
                query = parts[place][0][piece]
                scores = np.array([query @ parts[seen][1][piece] for seen in range(place + 1)])
                scores /= math.sqrt(WIDTH / HEADS)
                shares = np.exp(scores - scores.max())
                shares /= shares.sum()
                mixed.append(sum(share * parts[seen][2][piece] for seen, share in enumerate(shares)))
            stream[place] = stream[place] + linear(np.concatenate(mixed), f"{name}.attn.c_proj")
        for place, x in enumerate(stream):
            inner = gelu(linear(norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc"))
            stream[place] = x + linear(inner, f"{name}.mlp.c_proj")
    return np.array([norm(x, "ln_f") @ w["wte.weight"].T for x in stream])


def write(folder: Path, tensors: dict[str, Array] | None = None, **config: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    save_file(random_tensors() if tensors is None else tensors, folder / "model.safetensors")
    return folder


def test_loaded_gpt_computes_gpt2s_formulas(tmp_path: Path) -> None:
    gpt = load_gpt(write(tmp_path))
    tokens = np.array([4, 30, 4, 0, 17, 9, 2])
    with torch.inference_mode():
        ours = gpt(torch.from_numpy(tokens)[None])[0].numpy()
    assert np.abs(ours - plain_logits(random_tensors(), tokens)).max() < 1e-4


def test_prefix_masks_and_tied_output_make_no_difference(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "full").mkdir()
    tensors = random_tensors()
    full = {f"transformer.{name}": tensor for name, tensor in tensors.items()}
    full |= {f"transformer.h.{layer}.attn.bias": np.ones((1, 1, 10, 10), np.uint8) for layer in range(2)}
    full |= {f"transformer.h.{layer}.attn.masked_bias": np.array([-1e4], np.float32) for layer in range(2)}
    full |= {"lm_head.weight": tensors["wte.weight"].copy()}
    first, second = load_gpt(write(tmp_path / "plain")), load_gpt(write(tmp_path / "full", full))
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name])


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    half = {name: tensor.astype(np.float16) for name, tensor in random_tensors().items()}
    weight = load_gpt(write(tmp_path, half)).token_embedding.weight
    assert weight.dtype == torch.float32
    assert np.array_equal(weight.detach().numpy(), half["wte.weight"].astype(np.float32))


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    config = GPTConfig(context_length=9, emb_dim=8, n_heads=2, n_layers=1, vocab_size=20)
    gpt = new_gpt(config, seed=0)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_gpt(gpt, tmp_path / name)
    again = load_gpt(tmp_path / "one", dropout=0.25)
    assert again.config.dropout == 0.25
    assert read_config(tmp_path / "one") == config
    for name, weight in gpt.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert weights_identity(f"{tmp_path}/one") == weights_identity(f"{tmp_path}/two")


def test_saved_files_have_hugging_faces_names_and_layout(tmp_path: Path) -> None:
    save_gpt(new_gpt(GPTConfig(9, 8, 2, 1, 20), seed=0), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert sorted(tensors) == sorted(
        ["transformer.wte.weight", "transformer.wpe.weight", "transformer.ln_f.weight", "transformer.ln_f.bias"]
        + [
            f"transformer.h.0.{part}.{kind}"
            for part in ("ln_1", "ln_2", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
            for kind in ("weight", "bias")
        ]
    )
    assert tensors["transformer.h.0.attn.c_attn.weight"].shape == (8, 24)
    assert tensors["transformer.h.0.mlp.c_proj.weight"].shape == (32, 8)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["n_embd"], config["n_head"], config["n_layer"], config["n_positions"]) == (8, 2, 1, 9)


def test_one_error_lists_everything_that_does_not_fit(tmp_path: Path) -> None:
    tensors = random_tensors()
    del tensors["h.0.ln_1.bias"], tensors["wpe.weight"]
    tensors["h.1.mlp.c_fc.weight"] = tensors["h.1.mlp.c_fc.weight"].T.copy()
    tensors["h.2.extra"] = np.zeros(3, np.float32)
    tensors["ln_f.bias"] = np.zeros(12, np.int8)
    with pytest.raises(WeightsError) as error:
        load_gpt(write(tmp_path, tensors))
    message = str(error.value)
    assert "missing wpe.weight, h.0.ln_1.bias" in message
    assert "unexpected h.2.extra" in message
    assert "h.1.mlp.c_fc.weight has the shape [48, 12], not [12, 48]" in message
    assert "ln_f.bias is of type I8" in message


def test_a_tensor_in_both_spellings_is_refused(tmp_path: Path) -> None:
    other = {"transformer.ln_f.bias": np.ones(12, np.float32)}
    with pytest.raises(WeightsError, match=r"there under another name too (transformer\.)?ln_f\.bias;"):
        load_gpt(write(tmp_path, random_tensors() | other))


def test_shapes_that_do_not_match_the_config(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"wpe\.weight has the shape \[10, 12\], not \[11, 12\]"):
        load_gpt(write(tmp_path, n_positions=11))


def test_an_output_matrix_of_its_own_is_refused_where_the_config_says_it_is_tied(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"output matrix.*tie_word_embeddings"):
        load_gpt(write(tmp_path, random_tensors() | {"lm_head.weight": np.zeros((31, 12), np.float32)}))
    with pytest.raises(WeightsError, match="output matrix"):
        load_gpt(write(tmp_path, random_tensors() | {"lm_head.weight": np.zeros((30, 12), np.float32)}))


def test_an_output_matrix_of_its_own_is_loaded_and_saved_where_the_config_says_so(tmp_path: Path) -> None:
    output = np.random.default_rng(1).standard_normal((31, 12)).astype(np.float32)
    gpt = load_gpt(write(tmp_path, random_tensors() | {"lm_head.weight": output}, tie_word_embeddings=False))
    assert not gpt.config.tied_output
    assert gpt.output is not None
    assert np.array_equal(gpt.output.weight.detach().numpy(), output)
    again = tmp_path / "again"
    again.mkdir()
    save_gpt(gpt, again)
    assert np.array_equal(load_file(again / "model.safetensors")["lm_head.weight"], output)
    assert torch.equal(load_gpt(again).get_parameter("output.weight"), gpt.output.weight)
    with pytest.raises(WeightsError, match=r"missing lm_head\.weight"):
        load_gpt(write(tmp_path, tie_word_embeddings=False))


def test_a_missing_causal_mask_is_remembered(tmp_path: Path) -> None:
    save_gpt(new_gpt(GPTConfig(9, 8, 2, 1, 20, causal_mask=False), seed=0), tmp_path)
    assert not load_gpt(tmp_path).config.causal_mask
    save_gpt(new_gpt(GPTConfig(9, 8, 2, 1, 20), seed=0), tmp_path)
    assert "causal_mask" not in json.loads((tmp_path / "config.json").read_text())


def in_shards(folder: Path) -> Path:
    """`write`'s model with its tensors in two files and an index."""
    write(folder)
    (folder / "model.safetensors").unlink()
    tensors, names = random_tensors(), [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    parts = [dict(list(tensors.items())[:10]), dict(list(tensors.items())[10:])]
    for name, part in zip(names, parts, strict=True):
        save_file(part, folder / name)
    where = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def test_weights_in_several_files_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "several").mkdir()
    whole, parts = load_gpt(write(tmp_path / "one")), load_gpt(in_shards(tmp_path / "several"))
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, parts.state_dict()[name])
    assert len(weights_identity(f"{tmp_path}/several")) == 4  # config.json, the index and two files


def test_several_files_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    second = in_shards(tmp_path) / "model-00002-of-00002.safetensors"
    save_file(random_tensors(), second)
    with pytest.raises(WeightsError, match=r"stands in both .*model-00001.*model-00002"):
        load_gpt(tmp_path)
    second.unlink()
    with pytest.raises(WeightsError, match=r"model-00002-of-00002\.safetensors does not exist"):
        load_gpt(tmp_path)
    for index in ('{"weight_map": {"wte.weight": "../secret"}}', '{"weight_map": {}}', "{}", "[]"):
        (tmp_path / "model.safetensors.index.json").write_text(index)
        with pytest.raises(WeightsError, match=r"index\.json"):
            load_gpt(tmp_path)


def test_one_file_takes_its_shape_from_the_config_beside_it_or_from_the_size(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    write(tmp_path)
    loaded = load_pretrained(file, model_config("from-weights", f"{file}"))
    assert torch.equal(loaded.token_embedding.weight, load_gpt(tmp_path).token_embedding.weight)
    assert weights_identity(f"{file}") == weights_identity(f"{tmp_path}")  # the same bytes, so the same key
    save_gpt(new_gpt(SIZES["tiny"], seed=3), tmp_path)
    (tmp_path / "config.json").unlink()
    assert load_pretrained(file, model_config("tiny", f"{file}")).config == SIZES["tiny"]
    with pytest.raises(RecipeError, match=r"no config\.json beside .*set model\.size to one of tiny"):
        model_config("from-weights", f"{file}")
    with pytest.raises(WeightsError, match=r"has 3,332,928 numbers, and model\.size .* a network of 124,439,808"):
        load_pretrained(file, model_config("gpt2-small", f"{file}"))
    wider = replace(SIZES["tiny"], emb_dim=128)
    with pytest.raises(WeightsError, match=r"does not fit model\.size: .*wpe\.weight has the shape \[256, 64\]"):
        load_pretrained(file, wider)


def pickled(folder: Path) -> Path:
    """What transformers would have saved years ago: the same model as a pickle. Only tests make one."""
    write(folder)
    (folder / "model.safetensors").unlink()
    tensors = {f"transformer.{name}": torch.from_numpy(tensor) for name, tensor in random_tensors().items()}
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def obey(refused: WeightsError, folder: Path) -> None:
    """Runs the command that the sentence recommends."""
    (command,) = re.findall("`(.*)`", str(refused))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(command, shell=True, check=True, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True)


def test_a_pickle_is_refused_with_a_command_that_converts_it(tmp_path: Path) -> None:
    folder = tmp_path / "it's an old one"
    folder.mkdir()
    for given in (pickled(folder), folder / "pytorch_model.bin"):
        with pytest.raises(WeightsError, match="only as a pickle") as refused:
            weights_identity(f"{given}")
    obey(refused.value, tmp_path)
    assert str(refused.value).endswith(f"set model.weights to {CONVERTED}")
    converted, expected = load_gpt(tmp_path / CONVERTED), random_tensors()
    assert np.array_equal(converted.token_embedding.weight.detach().numpy(), expected["wte.weight"])
    assert np.array_equal(
        converted.get_parameter("blocks.1.mlp.projection.bias").detach().numpy(), expected["h.1.mlp.c_proj.bias"]
    )


@pytest.mark.parametrize(
    ("family", "auto", "write_tokenizer"),
    [("BERT", "AutoModelForMaskedLM", wordpiece), ("Llama", "AutoModelForCausalLM", byte_pair)],
)
def test_the_command_converts_any_family_with_its_tokenizer(
    tmp_path: Path, family: str, auto: str, write_tokenizer: Callable[[Path], Path]
) -> None:
    folder = write_family(family, write_tokenizer(tmp_path / "old"), auto=auto, vocab_size=330)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="only as a pickle") as refused:
        weights_identity(f"{folder}")
    obey(refused.value, tmp_path)
    again = safetensors.torch.load_file(tmp_path / CONVERTED / "model.safetensors")
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
    for place in ("old", CONVERTED):
        (tmp_path / f"{place}-tokenizer").mkdir()
        prepare_tokenizer(tmp_path / place, tmp_path / f"{place}-tokenizer")
    tokens = [load_tokenizer(tmp_path / f"{place}-tokenizer").encode(["Win now!"]) for place in ("old", CONVERTED)]
    assert tokens[0] == tokens[1]


def test_an_empty_folder_says_what_it_must_have(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"must have config\.json and model\.safetensors"):
        load_gpt(tmp_path)
    with pytest.raises(WeightsError, match=r"must have config\.json and model\.safetensors"):
        weights_identity(f"{tmp_path}")


def test_a_damaged_file_of_tensors_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"model\.safetensors is damaged"):
        load_gpt(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "llama"),
        ("activation_function", "relu"),
        ("n_inner", 100),
        ("n_embd", "12"),
        ("n_head", 5),
        ("n_layer", None),
        ("scale_attn_by_inverse_layer_idx", True),
        ("layer_norm_epsilon", "small"),
    ],
)
def test_a_config_that_is_no_gpt2_is_refused(tmp_path: Path, field: str, value: str | int | bool | None) -> None:
    with pytest.raises(WeightsError, match=r"config\.json"):
        read_config(write(tmp_path, None, **{field: value}))


@pytest.mark.parametrize("text", ["{", "[1]", "\udcff"])
def test_a_config_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(WeightsError, match="is not"):
        read_config(tmp_path)


def test_identity_changes_with_either_file(tmp_path: Path) -> None:
    write(tmp_path)
    before = weights_identity(f"{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"n_inner": None}))
    after = weights_identity(f"{tmp_path}")
    assert before["model.safetensors"] == after["model.safetensors"]
    assert before["config.json"] != after["config.json"]


def test_size_and_weights_decide_the_shape_together(tmp_path: Path) -> None:
    write(tmp_path)
    assert model_config("tiny", "scratch", dropout=0.1) == GPTConfig(256, 64, 4, 2, dropout=0.1)
    assert model_config("from-weights", str(tmp_path)).emb_dim == 12
    with pytest.raises(RecipeError, match=r"model\.size is 'tiny'.*2 layers, 12 dimensions"):
        model_config("tiny", str(tmp_path))
    save_gpt(new_gpt(SIZES["tiny"], seed=0), tmp_path)
    assert model_config("tiny", str(tmp_path), dropout=0.1).dropout == 0.1


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "gpt2").mkdir()
    write(tmp_path / "gpt2")
    assert find_weights("~/gpt2") == tmp_path / "gpt2"
    assert model_config("from-weights", "~/gpt2").emb_dim == 12
    assert fetch_weights("from-weights", "~/gpt2", folder=tmp_path / "unused") == tmp_path / "gpt2"


@pytest.mark.parametrize(
    "weights", ["gpt2", "~nobody-of-that-name/gpt2", "a" * 5000, "./a/b", "a/b/c", "a/b.safetensors"]
)
def test_weights_that_are_nowhere_are_refused_with_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for refusing in (find_weights, weights_identity, lambda weights: model_config("gpt2-small", weights)):
        beginning = re.escape(weights[:1000])  # a sentence is shortened in its middle
        with pytest.raises(WeightsError, match=f"^model.weights is '{beginning}[^']*', and there is no such") as caught:
            refusing(weights)
        for way_out in ("config.json and model.safetensors", "openai-community/gpt2", "'openai:1558M'", "'scratch'"):
            assert way_out in str(caught.value)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config\.json', which is no \.safetensors file"):
        find_weights(f"{write(tmp_path)}/config.json")


def test_a_revision_is_for_repositories_only(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model\.revision is 'main'.*is no repository on a hub: leave it out"):
        find_weights(f"{write(tmp_path)}", "main")


def test_the_written_file_is_the_one_that_safetensors_itself_would_write(tmp_path: Path) -> None:
    tensors = {"b": torch.randn(3, 4).t(), "a": torch.randn(2), "é": torch.tensor(5), "none": torch.empty(0, 3)}
    write_tensors(tmp_path / "ours", tensors)
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(whole, tmp_path / "theirs", metadata={"format": "pt"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_type_is_written_and_read_again(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"ragged": torch.arange(3).to(torch.uint8), "typed": torch.tensor([[0, 1], [1, 0], [1, 1]]).to(dtype)}
    write_tensors(tmp_path / "file", tensors)
    again = safetensors.torch.load_file(tmp_path / "file")
    assert again["typed"].dtype == dtype
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())


def test_loading_takes_the_memory_of_the_model_and_one_tensor(tmp_path: Path) -> None:
    shape = GPTConfig(context_length=64, emb_dim=512, n_heads=8, n_layers=24, vocab_size=4000)
    for stored in (torch.float32, torch.bfloat16):
        found = measure(shape, stored)
        assert found.model < found.peak < found.model + found.largest_tensor + SLACK
