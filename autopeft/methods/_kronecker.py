"""KronA's update as a torch module."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Kronecker(nn.Module):
    """Maps (…, inputs) to (…, outputs) by ``scale · (A ⊗ B)``, A square of a side that divides both widths.

    A is drawn as a linear layer's weight is, B starts at zero. The product is never built in the forward pass: with
    the input as a matrix X of ``side`` rows, (A ⊗ B) x is A X Bᵀ.
    """

    def __init__(self, inputs: int, outputs: int, side: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.small = nn.Parameter(torch.empty(side, side))
        self.large = nn.Parameter(torch.zeros(outputs // side, inputs // side))
        nn.init.kaiming_uniform_(self.small, a=5**0.5)

    def forward(self, vectors: Tensor) -> Tensor:
        """Returns the update of the output."""
        rows = vectors.unflatten(-1, (self.small.shape[1], -1))
        return (self.small @ functional.linear(rows, self.large)).flatten(-2) * self.scale

    def delta(self) -> Tensor:
        """Returns the update as a matrix."""
        return torch.kron(self.small, self.large) * self.scale
