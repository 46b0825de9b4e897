"""Products through oneDNN: the numbers and gradients of torch's own, and nothing left behind."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lib.model.machine.products import LARGE, onednn_is_faster, onednn_products

pytestmark = pytest.mark.skipif(not onednn_is_faster(), reason="no AVX-512, or a torch without oneDNN")


def layer(inputs: int = 384, outputs: int = 256, *, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, bias=bias)


def gradients(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The output, and the gradients of x and of each parameter."""
    x = x.detach().requires_grad_()
    network.zero_grad()
    output = network(x)
    output.pow(2).mean().backward()
    assert x.grad is not None
    found = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
    return {"output": output.detach(), "x": x.grad, **{name: tensor.clone() for name, tensor in found.items()}}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "shape",
    [
        lambda x: x,
        lambda x: x[:, 0],  # rows that lie apart
        lambda x: x.transpose(0, 1),
        lambda x: x[:1, :1].expand(5, 3, -1),
        lambda x: x.reshape(-1, x.shape[-1]),
    ],
)
def test_numbers_and_gradients_are_torchs_own(bias: bool, shape: Callable[[Tensor], Tensor]) -> None:
    network = layer(bias=bias)
    x = shape(torch.randn(7, 13, 384))
    wanted = gradients(network, x)
    with onednn_products(network):
        found = gradients(network, x)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-5, msg=name)


def test_a_frozen_weight_gets_no_gradient_and_lets_that_of_its_input_through() -> None:
    network = layer().requires_grad_(False)
    with onednn_products(network):
        found = gradients(network, torch.randn(8, 384))
    assert set(found) == {"output", "x"}


def operators(network: nn.Module, x: Tensor) -> set[str]:
    with torch.profiler.profile() as seen:
        network(x)
    return {event.key for event in seen.key_averages()}


def test_only_large_layers_and_more_than_a_few_rows_use_it() -> None:
    small, large = layer(LARGE // 256 - 1, 256), layer()
    product = "mkldnn::_linear_pointwise"
    with onednn_products(nn.ModuleList([small, large])):
        assert product in operators(large, torch.randn(4, 384))
        assert product not in operators(large, torch.randn(3, 384))
        assert product not in operators(small, torch.randn(4, small.in_features))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert product not in operators(large, torch.randn(4, 384))
        assert product not in operators(large.bfloat16(), torch.randn(4, 384, dtype=torch.bfloat16))
    assert product not in operators(large.float(), torch.randn(4, 384))


def test_inside_another_block_the_outer_one_ends_it() -> None:
    network = layer()
    with onednn_products(network):
        with onednn_products(network):
            pass
        assert "forward" in network.__dict__
    assert "forward" not in network.__dict__
