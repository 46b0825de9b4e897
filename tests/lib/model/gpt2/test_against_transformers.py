"""Our GPT computes what transformers' GPT2LMHeadModel computes, from the same files.

All numbers are random, also those of norms and biases, so that a tensor in another's place shows.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")

from lib.model.gpt2.gpt import INITIAL_STD  # noqa: E402
from lib.model.gpt2.sizes import SIZES, GPTConfig  # noqa: E402
from lib.model.gpt2.weights import load_gpt, save_gpt  # noqa: E402

TOLERANCE = 1e-5  # largest difference between two logits, in float32
HALF_TOLERANCE = 2e-2  # in bfloat16, relative to the largest logit
HEADS = {size: config.n_heads for size, config in SIZES.items() if size != "tiny"}


def theirs(config: GPTConfig, std: float = 0.1) -> Any:
    """A GPT-2 of transformers with random numbers everywhere, in eval mode."""
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            n_positions=config.context_length,
            n_embd=config.emb_dim,
            n_head=config.n_heads,
            n_layer=config.n_layers,
            vocab_size=config.vocab_size,
            layer_norm_epsilon=config.layer_norm_epsilon,
            tie_word_embeddings=config.tied_output,
        )
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(mean=float(".ln_" in name and name.endswith("weight")), std=std, generator=generator)
    return model.eval()


def tokens_for(config: GPTConfig, length: int) -> torch.Tensor:
    return torch.randint(config.vocab_size, (2, length), generator=torch.Generator().manual_seed(1))


def difference(config: GPTConfig, folder: Path, length: int, std: float = 0.1) -> float:
    """The largest difference of logits once transformers has saved and we have loaded."""
    model, tokens = theirs(config, std), tokens_for(config, length)
    model.save_pretrained(folder)
    ours = load_gpt(folder).eval()
    assert ours.config == config
    with torch.inference_mode():
        return float((ours(tokens) - model(tokens).logits).abs().max())


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("size", HEADS)
def test_logits_are_the_same_with_every_sizes_number_of_heads(tmp_path: Path, size: str, tied: bool) -> None:
    config = GPTConfig(
        context_length=24, emb_dim=4 * HEADS[size], n_heads=HEADS[size], n_layers=2, vocab_size=101, tied_output=tied
    )
    assert difference(config, tmp_path, 24) < TOLERANCE


def test_logits_are_the_same_at_the_shape_of_gpt2_small(tmp_path: Path) -> None:
    # GPT-2's own standard deviation: at this width larger numbers would make logits whose last digits are above 1e-5.
    assert difference(SIZES["gpt2-small"], tmp_path, 16, std=INITIAL_STD) < TOLERANCE


def test_logits_are_the_same_in_bfloat16(tmp_path: Path) -> None:
    config = GPTConfig(context_length=24, emb_dim=48, n_heads=12, n_layers=4, vocab_size=101)
    model, tokens = theirs(config).to(torch.bfloat16), tokens_for(config, 24)
    model.save_pretrained(tmp_path)
    ours = load_gpt(tmp_path).eval()
    assert next(ours.parameters()).dtype == torch.float32
    with torch.inference_mode():
        expected = model(tokens).logits.float()
        found = ours.to(torch.bfloat16)(tokens).float()
    assert (found - expected).abs().max() < HALF_TOLERANCE * expected.abs().max()


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_transformers_loads_what_we_save(tmp_path: Path, tied: bool) -> None:
    config = GPTConfig(context_length=24, emb_dim=48, n_heads=12, n_layers=2, vocab_size=101, tied_output=tied)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    theirs(config).save_pretrained(tmp_path / "theirs")
    ours = load_gpt(tmp_path / "theirs").eval()
    save_gpt(ours, tmp_path / "ours")
    model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "ours").eval()
    tokens = tokens_for(config, 24)
    with torch.inference_mode():
        assert (model(tokens).logits - ours(tokens)).abs().max() < TOLERANCE
