import json
import math

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from lib.errors import RecipeError, WeightsError
from lib.model.folder import model_config, read_config, weights_folder, weights_identity
from lib.model.gpt import new_gpt
from lib.model.sizes import SIZES, GPTConfig
from lib.model.weights import load_gpt, save_gpt

CONFIG = {
    "model_type": "gpt2",
    "n_embd": 12,
    "n_head": 3,
    "n_layer": 2,
    "n_positions": 10,
    "vocab_size": 31,
    "layer_norm_epsilon": 1e-3,
    "activation_function": "gelu_new",
}


def random_tensors() -> dict[str, np.ndarray]:
    """A GPT-2 of CONFIG's shape under transformers' names: every tensor random, norms and biases too."""
    draw = np.random.default_rng(0).standard_normal
    width = CONFIG["n_embd"]
    tensors = {"wte.weight": draw((31, width)), "wpe.weight": draw((10, width))}
    for layer in range(CONFIG["n_layer"]):
        shapes = {
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


def plain_logits(weights: dict[str, np.ndarray], tokens: np.ndarray) -> np.ndarray:
    """The formulas of GPT-2 one position and one head at a time, in float64: tokens (length,) -> (length, vocab)."""
    w = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
    heads, epsilon = CONFIG["n_head"], CONFIG["layer_norm_epsilon"]

    def linear(x, name):
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    def norm(x, name):
        spread = np.sqrt(((x - x.mean()) ** 2).mean() + epsilon)
        return (x - x.mean()) / spread * w[f"{name}.weight"] + w[f"{name}.bias"]

    def gelu(x):
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    stream = [w["wte.weight"][token] + w["wpe.weight"][place] for place, token in enumerate(tokens)]
    for layer in range(CONFIG["n_layer"]):
        name = f"h.{layer}"
        parts = [np.split(linear(norm(x, f"{name}.ln_1"), f"{name}.attn.c_attn"), 3) for x in stream]
        for place in range(len(stream)):
            mixed = []
            for head in range(heads):
                piece = slice(head * 12 // heads, (head + 1) * 12 // heads)
                query = parts[place][0][piece]
                scores = np.array([query @ parts[seen][1][piece] for seen in range(place + 1)]) / math.sqrt(12 / heads)
                shares = np.exp(scores - scores.max())
                shares /= shares.sum()
                mixed.append(sum(share * parts[seen][2][piece] for seen, share in enumerate(shares)))
            stream[place] = stream[place] + linear(np.concatenate(mixed), f"{name}.attn.c_proj")
        for place, x in enumerate(stream):
            inner = gelu(linear(norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc"))
            stream[place] = x + linear(inner, f"{name}.mlp.c_proj")
    return np.array([norm(x, "ln_f") @ w["wte.weight"].T for x in stream])


def write(folder, tensors=None, **config):
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    save_file(random_tensors() if tensors is None else tensors, folder / "model.safetensors")
    return folder


def test_loaded_gpt_computes_gpt2s_formulas(tmp_path):
    gpt = load_gpt(write(tmp_path))
    tokens = np.array([4, 30, 4, 0, 17, 9, 2])
    with torch.inference_mode():
        ours = gpt(torch.from_numpy(tokens)[None])[0].numpy()
    assert np.abs(ours - plain_logits(random_tensors(), tokens)).max() < 1e-4


def test_prefix_masks_and_tied_output_make_no_difference(tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "full").mkdir()
    tensors = random_tensors()
    full = {f"transformer.{name}": tensor for name, tensor in tensors.items()}
    full |= {f"transformer.h.{layer}.attn.bias": np.ones((1, 1, 10, 10), np.uint8) for layer in range(2)}
    full |= {f"transformer.h.{layer}.attn.masked_bias": np.float32([-1e4]) for layer in range(2)}
    full |= {"lm_head.weight": tensors["wte.weight"].copy()}
    first, second = load_gpt(write(tmp_path / "plain")), load_gpt(write(tmp_path / "full", full))
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name])


def test_half_precision_is_read_as_float32(tmp_path):
    half = {name: tensor.astype(np.float16) for name, tensor in random_tensors().items()}
    weight = load_gpt(write(tmp_path, half)).token_embedding.weight
    assert weight.dtype == torch.float32
    assert np.array_equal(weight.detach().numpy(), half["wte.weight"].astype(np.float32))


def test_what_is_saved_is_loaded_again(tmp_path):
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
    assert weights_identity(tmp_path / "one") == weights_identity(tmp_path / "two")


def test_saved_files_have_hugging_faces_names_and_layout(tmp_path):
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


def test_one_error_lists_everything_that_does_not_fit(tmp_path):
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


def test_shapes_that_do_not_match_the_config(tmp_path):
    with pytest.raises(WeightsError, match=r"wpe\.weight has the shape \[10, 12\], not \[11, 12\]"):
        load_gpt(write(tmp_path, n_positions=11))


def test_an_output_matrix_of_its_own_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="output matrix"):
        load_gpt(write(tmp_path, random_tensors() | {"lm_head.weight": np.zeros((31, 12), np.float32)}))


def test_an_empty_folder_says_what_it_must_have(tmp_path):
    with pytest.raises(WeightsError, match=r"must have config\.json and model\.safetensors"):
        load_gpt(tmp_path)
    with pytest.raises(WeightsError, match=r"must have config\.json and model\.safetensors"):
        weights_identity(tmp_path)


@pytest.mark.parametrize(
    ("file", "reason"), [("pytorch_model.bin", "pickle"), ("model.safetensors.index.json", "several files")]
)
def test_other_formats_are_refused_with_the_reason(tmp_path, file, reason):
    write(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / file)
    with pytest.raises(WeightsError, match=reason):
        load_gpt(tmp_path)


def test_a_damaged_file_of_tensors_is_named(tmp_path):
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
def test_a_config_that_is_no_gpt2_is_refused(tmp_path, field, value):
    with pytest.raises(WeightsError, match=r"config\.json"):
        read_config(write(tmp_path, **{field: value}))


@pytest.mark.parametrize("text", ["{", "[1]", "\udcff"])
def test_a_config_that_is_no_json_object_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(WeightsError, match="is not"):
        read_config(tmp_path)


def test_identity_changes_with_either_file(tmp_path):
    write(tmp_path)
    before = weights_identity(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"n_inner": None}))
    after = weights_identity(tmp_path)
    assert before["model.safetensors"] == after["model.safetensors"]
    assert before["config.json"] != after["config.json"]


def test_size_and_weights_decide_the_shape_together(tmp_path):
    write(tmp_path)
    assert model_config("tiny", "scratch", dropout=0.1) == GPTConfig(256, 64, 4, 2, dropout=0.1)
    assert model_config("from-weights", str(tmp_path)).emb_dim == 12
    with pytest.raises(RecipeError, match=r"model\.size is 'tiny'.*2 layers, 12 dimensions"):
        model_config("tiny", str(tmp_path))
    save_gpt(new_gpt(SIZES["tiny"], seed=0), tmp_path)
    assert model_config("tiny", str(tmp_path), dropout=0.1).dropout == 0.1


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "gpt2").mkdir()
    write(tmp_path / "gpt2")
    assert weights_folder("~/gpt2") == tmp_path / "gpt2"
    assert model_config("from-weights", "~/gpt2").emb_dim == 12


@pytest.mark.parametrize("weights", ["openai-community/gpt2", "~nobody-of-that-name/gpt2", "a" * 5000, "config.json"])
def test_weights_that_are_no_folder_are_refused_with_the_ways_out(tmp_path, monkeypatch, weights):
    monkeypatch.chdir(write(tmp_path))
    for refusing in (weights_folder, lambda weights: model_config("gpt2-small", weights)):
        with pytest.raises(
            WeightsError, match=rf"^model\.weights is '{weights}', which is no folder here, and "
        ) as caught:
            refusing(weights)
        assert "not fetched by this version" in str(caught.value)
        assert "config.json and model.safetensors, or 'scratch'" in str(caught.value)
