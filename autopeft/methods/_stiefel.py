"""OrthoGeoLoRA's update as a torch module: two factors with orthonormal columns and the singular values between."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def orthonormal(matrix: Tensor) -> Tensor:
    """Returns the orthonormal factor of a tall matrix, (size, rank) with size ≥ rank.

    Of the QR decompositions it is the one whose triangle has a positive diagonal: it is unique, changes smoothly
    with the matrix, and gives an orthonormal matrix back as it is. Differentiable; computed in float32, because QR
    is not written for half precision.
    """
    q, r = torch.linalg.qr(matrix.float())
    signs: Tensor = torch.where(r.diagonal() < 0, -1.0, 1.0)
    turned: Tensor = q * signs
    return turned


class Stiefel(nn.Module):
    """Maps (…, inputs) to (…, outputs) by ``scale · B Σ Aᵀ``; A and B are the orthonormal factors of what trains.

    The singular values start at zero, so that nothing is added at first. What trains of A and B starts on the manifold:
    the factor does not depend on its size, so the size only sets how far a step turns the columns. Unit columns turn
    fast, which they must: a random direction sees little of the gradient (measured beside columns 4 and 20 times as
    long, which learn slower).
    """

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float, dropout: float) -> None:
        super().__init__()
        self.scale = scale
        self.right = nn.Parameter(orthonormal(torch.randn(inputs, rank)))
        self.left = nn.Parameter(orthonormal(torch.randn(outputs, rank)))
        self.singular = nn.Parameter(torch.zeros(rank))
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Tensor) -> Tensor:
        """Returns the update of the output."""
        inner = self.dropout(vectors) @ orthonormal(self.right).to(vectors.dtype)
        return functional.linear(inner * self._values(), orthonormal(self.left).to(vectors.dtype))

    def delta(self) -> Tensor:
        """Returns the update as a matrix."""
        return (orthonormal(self.left) * self._values()) @ orthonormal(self.right).T

    def _values(self) -> Tensor:
        return self.singular * self.scale
