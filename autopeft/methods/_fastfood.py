"""Fastfood: a random projection from few numbers to many that is stored in the room of its result."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


def padded(size: int) -> int:
    """Returns the smallest power of two that is no less than a size."""
    return 1 << (size - 1).bit_length()


def hadamard(vector: Tensor) -> Tensor:
    """Returns the Walsh-Hadamard transform of a vector whose length is a power of two, not normalised.

    n log n additions; none of them keeps anything for the backward pass.
    """
    length, step = vector.numel(), 1
    while step < length:
        first, second = vector.view(-1, 2, step).unbind(1)
        vector = torch.stack((first + second, first - second), dim=1).view(-1)
        step *= 2
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
        for name, drawn in _drawn(length, seed, directions.device).items():
            self.register_buffer(name, drawn, persistent=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Returns the update of the output."""
        return functional.linear(vectors, self.delta())

    def delta(self) -> Tensor:
        """Returns the update as a matrix."""
        return self.scales[self.place] * self.project(self.directions).view(self.shape)

    def project(self, directions: Tensor) -> Tensor:
        """Returns a vector of outputs × inputs numbers from a short one."""
        factors, order = cast("Tensor", self.factors), cast("Tensor", self.order)
        size, length = self.shape[0] * self.shape[1], factors.numel()
        spread = functional.pad(directions, (0, length - directions.numel())) * cast("Tensor", self.signs)
        mixed = hadamard(hadamard(spread)[order] * factors)[:size]
        return mixed / (factors.square().sum() * size).sqrt()


def _drawn(length: int, seed: int, device: torch.device) -> dict[str, Tensor]:
    """Returns signs, order and factors: 9 bytes a weight; on the meta device their shapes alone."""
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
    return {"signs": signs.to(device), "order": order.to(device), "factors": factors.to(device)}
