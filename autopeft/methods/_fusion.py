"""AdapterFusion as a torch module: several bottlenecks, and attention over what they say."""

from typing import cast

import torch
from torch import Tensor, nn

from autopeft.methods._bottleneck import Bottleneck


class Fusion(nn.Module):
    """Adds ``Σₙ wₙ V uₙ`` to a hidden state of shape (…, width), uₙ what adapter n would add to it.

    The weights are the softmax over the adapters of the scalar products of ``Q hidden`` and ``K uₙ``. V starts as
    the identity, or stays it.
    """

    def __init__(self, width: int, adapters: list[Bottleneck], attention: int, *, trained_value: bool) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(adapters)
        self.query = nn.Linear(width, attention, bias=False)
        self.key = nn.Linear(width, attention, bias=False)
        self.value = _identity(width) if trained_value else nn.Identity()

    def forward(self, hidden: Tensor) -> Tensor:
        """Returns the adapted hidden state, in its own dtype."""
        state = hidden.to(self.query.weight.dtype)
        updates = self.updates(state)
        fused: Tensor = (self.weights(state, updates).unsqueeze(-1) * self.value(updates)).sum(dim=-2)
        return hidden + fused.to(hidden.dtype)

    def updates(self, hidden: Tensor) -> Tensor:
        """Returns what each adapter would add, (…, adapters, width)."""
        return torch.stack([cast("Bottleneck", adapter).update(hidden) for adapter in self.adapters], dim=-2)

    def weights(self, hidden: Tensor, updates: Tensor) -> Tensor:
        """Returns the share of each adapter, (…, adapters); shares sum to one."""
        scores: Tensor = (self.key(updates) * self.query(hidden).unsqueeze(-2)).sum(dim=-1)
        return scores.softmax(dim=-1)


def _identity(width: int) -> nn.Linear:
    layer = nn.Linear(width, width, bias=False)
    nn.init.eye_(layer.weight)
    return layer
