"""Compacter's layers as torch modules: weights that are sums of Kronecker products."""

import torch
from torch import Tensor, nn

from autopeft.methods._bottleneck import ACTIVATIONS


class Hypercomplex(nn.Module):
    """Maps (…, inputs) to (…, outputs) by ``x Σᵢ Aᵢ ⊗ (sᵢ tᵢ) + bias``.

    The n matrices Aᵢ (n × n) are given, because layers share them; sᵢ (inputs/n × rank) and tᵢ (rank × outputs/n) are
    the layer's own, drawn uniformly by Glorot's rule, or tᵢ zero where the layer has to start without effect.
    """

    def __init__(self, inputs: int, outputs: int, rules: nn.Parameter, rank: int, *, zero: bool) -> None:
        super().__init__()
        count = rules.shape[0]
        self.rules = rules
        self.left = nn.Parameter(torch.empty(count, inputs // count, rank))
        self.right = nn.Parameter(torch.zeros(count, rank, outputs // count))
        self.bias = nn.Parameter(torch.zeros(outputs))
        for factors in (self.left,) if zero else (self.left, self.right):
            for factor in factors:
                nn.init.xavier_uniform_(factor)

    def weight(self) -> Tensor:
        """Returns the weight, (inputs, outputs)."""
        fast = self.left @ self.right
        blocks = torch.einsum("nij,nkl->ikjl", self.rules, fast)
        return blocks.reshape(self.left.shape[0] * self.left.shape[1], -1)

    def forward(self, vectors: Tensor) -> Tensor:
        """Returns the mapped vectors."""
        return vectors @ self.weight() + self.bias


class CompactBottleneck(nn.Module):
    """Adds ``up(activation(down(hidden)))`` to a hidden state of shape (…, width), both maps hypercomplex."""

    def __init__(self, width: int, bottleneck: int, rules: nn.Parameter, rank: int, activation: str) -> None:
        super().__init__()
        self.activation_name = activation
        self.down = Hypercomplex(width, bottleneck, rules, rank, zero=False)
        self.activation = ACTIVATIONS[activation]()
        self.up = Hypercomplex(bottleneck, width, rules, rank, zero=True)

    def forward(self, hidden: Tensor) -> Tensor:
        """Returns the adapted hidden state, in its own dtype."""
        inner = self.activation(self.down(hidden.to(self.down.bias.dtype)))
        update: Tensor = self.up(inner)
        return hidden + update.to(hidden.dtype)


def shared_rules(count: int) -> nn.Parameter:
    """Returns the matrices Aᵢ that all layers share, (n, n, n).

    Their variance of 1/n gives the sum over i the variance of its terms.
    """
    return nn.Parameter(torch.randn(count, count, count) / count**0.5)
