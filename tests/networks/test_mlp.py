"""The ensemble's layers against plain products of matrices, forward and backward."""

import pytest
import torch

from nav_offrl.networks.mlp import EnsembleLinear


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_layer_multiplies_each_member_by_its_own_weights(outputs: int) -> None:
    torch.manual_seed(0)
    layer, x = EnsembleLinear(3, 5, outputs), torch.randn(3, 7, 5, requires_grad=True)
    torch.nn.init.normal_(layer.bias)
    inputs = (x, layer.weight, layer.bias)
    plain = torch.stack([x[k] @ layer.weight[k] + layer.bias[k] for k in range(3)])
    upstream = torch.randn_like(plain)
    torch.testing.assert_close(layer(x), plain)
    torch.testing.assert_close(
        torch.autograd.grad(layer(x), inputs, upstream),
        torch.autograd.grad(plain, inputs, upstream),
    )
