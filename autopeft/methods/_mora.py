"""MoRA's square matrix as a torch module, with its two ways to narrow and widen a vector without parameters."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

_BASE = 10000.0


class Square(nn.Module):
    """Maps (…, inputs) to (…, outputs) through one square matrix, which starts at zero.

    The input is filled up with zeros and cut into groups of the matrix's width. ``sharing`` adds the groups up and
    repeats the result; ``rope`` turns each group by an angle of its own, maps them all by the same matrix, and lines
    the results up.
    """

    def __init__(self, inputs: int, outputs: int, width: int, *, rank: int, variant: str, dropout: float) -> None:
        super().__init__()
        self.inputs, self.outputs, self.rank, self.variant = inputs, outputs, rank, variant
        self.matrix = nn.Parameter(torch.zeros(width, width))
        self.dropout = nn.Dropout(dropout)
        if variant == "rope":
            angles = _angles(-(-inputs // width), width)
            self.register_buffer("cosine", angles.cos(), persistent=False)
            self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Returns the update of the output."""
        return self._map(self.dropout(vectors))

    def delta(self) -> Tensor:
        """Returns the update as a matrix: what becomes of the unit vectors."""
        return self._map(torch.eye(self.inputs, device=self.matrix.device, dtype=self.matrix.dtype)).T

    def _map(self, vectors: Tensor) -> Tensor:
        width = self.matrix.shape[0]
        filled = functional.pad(vectors, (0, -self.inputs % width))
        groups = filled.unflatten(-1, (-1, width))
        if self.variant == "sharing":
            made = functional.linear(groups.sum(dim=-2), self.matrix)
        else:
            made = functional.linear(self._turned(groups), self.matrix).flatten(-2)
        times = -(-self.outputs // made.shape[-1])
        return torch.cat([made] * times, dim=-1)[..., : self.outputs]

    def _turned(self, groups: Tensor) -> Tensor:
        first, second = groups.chunk(2, dim=-1)
        cosine, sine = cast("Tensor", self.cosine), cast("Tensor", self.sine)
        return groups * cosine + torch.cat((-second, first), dim=-1) * sine


def _angles(groups: int, width: int) -> Tensor:
    """Returns the angle of each group and coordinate, (groups, width); both of a pair turn alike."""
    speeds = _BASE ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
    angles = torch.outer(torch.arange(groups, dtype=torch.float32), speeds)
    return torch.cat((angles, angles), dim=-1)
