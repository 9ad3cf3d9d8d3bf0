"""Fastfood: a random projection from few numbers to many that is stored in the room of its result."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from autopeft.methods._powers import block_side, padded


def sylvester(size: int, device: torch.device) -> Tensor:
    """Returns the Hadamard matrix of a power of two, (size, size); its leading blocks are the smaller ones."""
    matrix = torch.ones(1, 1, device=device)
    while matrix.shape[0] < size:
        matrix = torch.cat((torch.cat((matrix, matrix), dim=1), torch.cat((matrix, -matrix), dim=1)))
    return matrix


def hadamard(vector: Tensor, block: Tensor) -> Tensor:
    """Returns the Walsh-Hadamard transform of a vector whose length is a power of two, not normalised.

    As a Kronecker product of transforms as large as the block, each one matrix product over one axis, which it
    moves to the end; after the last one the order is the old one. A few passes over the vector, where the textbook's
    butterflies take one for every doubling. Nothing but the block is kept for the backward pass.
    """
    remaining = vector.numel()
    while remaining > 1:
        size = min(remaining, block.shape[0])
        vector = (vector.view(size, -1).T @ block[:size, :size]).reshape(-1)
        remaining //= size
    return vector


class Fastfood(nn.Module):
    """Maps (…, inputs) to (…, outputs) by ``scales[place] · P(directions)``, a matrix of its own for each module.

    P is H G Π H B: random signs, a Hadamard transform, a permutation, Gaussian factors, a Hadamard transform; scaled
    so that P(x) is as long as x on average. Signs, order and factors are drawn from the seed, so that they need not
    be saved. ``directions`` and ``scales`` are shared by all modules.
    """

    def __init__(self, inputs: int, outputs: int, directions: Tensor, scales: Tensor, place: int, seed: int) -> None:
        super().__init__()
        self.shape, self.place = (outputs, inputs), place
        self.directions, self.scales = directions, scales
        length = padded(inputs * outputs)
        for name, drawn in _drawn(length, inputs * outputs, seed, directions.device).items():
            self.register_buffer(name, drawn, persistent=False)
        self.register_buffer("block", sylvester(block_side(length), directions.device), persistent=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Returns the update of the output."""
        return functional.linear(vectors, self.delta())

    def delta(self) -> Tensor:
        """Returns the update as a matrix."""
        return self.scales[self.place] * self.project(self.directions).view(self.shape)

    def project(self, directions: Tensor) -> Tensor:
        """Returns a vector of outputs × inputs numbers from a short one."""
        factors, order, block = (cast("Tensor", getattr(self, name)) for name in ("factors", "order", "block"))
        size, length = self.shape[0] * self.shape[1], factors.numel()
        spread = functional.pad(directions, (0, length - directions.numel())) * cast("Tensor", self.signs)
        with torch.autocast(_real(directions.device), enabled=False):  # sums of so many terms need float32
            shuffled = hadamard(spread, block).index_select(0, order)
            return hadamard(shuffled * factors, block)[:size]


def _real(device: torch.device) -> str:
    """Returns the kind of device whose autocast holds; the meta device has none of its own."""
    return "cpu" if device.type == "meta" else device.type


def _drawn(length: int, size: int, seed: int, device: torch.device) -> dict[str, Tensor]:
    """Returns signs, order and factors: 9 bytes a weight; on the meta device their shapes alone.

    Two transforms make a vector ``length`` times as long, and of the result a share of size / length is taken: the
    factors are scaled by what undoes both.
    """
    if device.type == "meta":
        return {
            "signs": torch.empty(length, dtype=torch.int8, device=device),
            "order": torch.empty(length, dtype=torch.int32, device=device),
            "factors": torch.empty(length, device=device),
        }
    # On the CPU whatever the device, so that the same seed means the same projection everywhere.
    source = torch.Generator("cpu").manual_seed(seed)
    signs = torch.randint(0, 2, (length,), generator=source, dtype=torch.int8, device="cpu") * 2 - 1
    order = torch.randperm(length, generator=source, dtype=torch.int32, device="cpu")
    factors = torch.randn(length, generator=source, device="cpu")
    factors /= factors.norm() * size**0.5
    return {"signs": signs.to(device), "order": order.to(device), "factors": factors.to(device)}
