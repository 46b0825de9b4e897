import math
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from lib.model.gpt2.gpt import GPT, Block, new_gpt
from lib.model.gpt2.sizes import SIZES, GPTConfig

SMALL = GPTConfig(context_length=16, emb_dim=24, n_heads=3, n_layers=2, vocab_size=50)


def count(config: GPTConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in GPT(config).parameters())


@pytest.mark.parametrize(
    ("size", "parameters"),
    # As transformers counts the parameters of GPT2LMHeadModel for each of OpenAI's four checkpoints.
    [
        ("gpt2-small", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
    ],
)
def test_gpt2_sizes_have_the_published_number_of_parameters(size: str, parameters: int) -> None:
    assert count(SIZES[size]) == parameters


def test_tiny_has_the_documented_shape() -> None:
    tiny = SIZES["tiny"]
    assert (tiny.n_layers, tiny.emb_dim, tiny.n_heads, tiny.context_length) == (2, 64, 4, 256)


def test_sizes_are_known_without_torch() -> None:
    code = "import sys, lib.model.gpt2.sizes, lib.model.weights.folder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("field", "value"), [("n_heads", 5), ("n_layers", 0)])
def test_impossible_shapes_are_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=field):
        GPTConfig(**(asdict(SMALL) | {field: value}))


def test_shapes_and_types_of_outputs() -> None:
    gpt = new_gpt(SMALL, seed=0)
    tokens = torch.randint(0, 50, (3, 7))
    assert gpt.hidden(tokens).shape == (3, 7, 24)
    assert gpt(tokens).shape == (3, 7, 50)
    assert gpt(tokens).dtype == torch.float32


def test_a_token_does_not_see_what_follows_it() -> None:
    gpt = new_gpt(SMALL, seed=0).eval()
    first, second = torch.arange(10)[None], torch.arange(10)[None].clone()
    second[0, 6:] = 49
    torch.testing.assert_close(gpt(first)[:, :6], gpt(second)[:, :6], rtol=0, atol=1e-6)
    assert not torch.allclose(gpt(first)[:, 6:], gpt(second)[:, 6:])


def test_output_is_tied_to_the_token_embedding() -> None:
    gpt = new_gpt(SMALL, seed=0)
    tokens = torch.arange(5)[None]
    expected = gpt.hidden(tokens) @ gpt.token_embedding.weight.T
    torch.testing.assert_close(gpt(tokens), expected)


def test_more_tokens_than_the_context_are_refused() -> None:
    with pytest.raises(ValueError, match="17 tokens are more than the context length of 16"):
        new_gpt(SMALL, seed=0)(torch.zeros(1, 17, dtype=torch.int64))


def test_initial_numbers_are_gpt2s() -> None:
    gpt = new_gpt(replace(SMALL, emb_dim=96, vocab_size=2000), seed=0)
    assert gpt.token_embedding.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert gpt.get_parameter("blocks.1.attention.qkv.weight").std().item() == pytest.approx(0.02, rel=0.02)
    for projection in ("attention.projection", "mlp.projection"):
        weight, bias = (gpt.get_parameter(f"blocks.1.{projection}.{kind}") for kind in ("weight", "bias"))
        assert weight.std().item() == pytest.approx(0.02 / math.sqrt(2 * 2), rel=0.02)
        assert not bias.any()
    assert (gpt.final_norm.weight == 1).all()
    assert not gpt.final_norm.bias.any()


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = new_gpt(SMALL, seed=3), new_gpt(SMALL, seed=3), new_gpt(SMALL, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert not torch.equal(first.token_embedding.weight, other.token_embedding.weight)


def test_frozen_blocks_record_no_gradients() -> None:
    gpt = new_gpt(SMALL, seed=0)
    gpt.requires_grad_(False)
    gpt.blocks[1].requires_grad_(True)
    entering = []
    gpt.blocks[1].register_forward_pre_hook(lambda block, inputs: entering.append(inputs[0].requires_grad))
    assert gpt(torch.arange(5)[None]).requires_grad
    assert entering == [False]


def test_dropout_is_only_for_training() -> None:
    gpt = new_gpt(replace(SMALL, dropout=0.5), seed=0)
    tokens = torch.arange(8)[None]
    assert not torch.equal(gpt(tokens), gpt(tokens))
    gpt.eval()
    assert torch.equal(gpt(tokens), gpt(tokens))


@pytest.mark.parametrize("causal_mask", [True, False])
def test_one_position_of_a_block_is_its_row_of_the_whole(causal_mask: bool) -> None:
    """Weights and biases are large here, so that attention is far from even and every term counts."""
    torch.manual_seed(0)
    block = Block(GPTConfig(context_length=16, emb_dim=32, n_heads=4, n_layers=1, causal_mask=causal_mask))
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(5, 9, 32)
    lengths = torch.tensor([9, 1, 4, 7, 2])
    places = torch.arange(9)
    real = places < lengths[:, None]
    rows, positions = torch.arange(5), lengths - 1
    for at in (positions, torch.zeros_like(positions)):
        visible = places <= at[:, None] if causal_mask else real
        outcomes = []
        for whole in (True, False):
            given = x.clone().requires_grad_()
            if whole:
                row = block(given, None if causal_mask else real[:, None, None, :])[rows, at]
            else:
                row = block.at(given, at, visible)
            block.zero_grad()
            row.square().sum().backward()
            outcomes.append([row.detach(), given.grad, *(parameter.grad for parameter in block.parameters())])
        for expected, found in zip(*outcomes, strict=True):
            scale = float(expected.abs().max())
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * scale + 1e-5)
