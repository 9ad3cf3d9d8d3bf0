"""A method of one's own: a small trained matrix between two frozen random projections.

ΔW = scale · B R A. A (rank × in) and B (out × rank) are random, frozen and drawn from a fixed seed, so that they need
not be saved; R (rank × rank) is all that trains, and starts at zero. After LoRA-XS (Bałazy et al., arXiv 2405.17604),
which takes A and B from the weight's singular vectors instead.
"""

from typing import Any

import torch
from optuna.distributions import FloatDistribution, IntDistribution
from torch import nn

from autopeft.methods import Method, Paper, Seed, additive, target_modules
from autopeft.values.candidates import Setup


class Core(nn.Module):
    """Maps (…, inputs) to (…, outputs): what is added to a linear layer's output."""

    reads: torch.Tensor
    writes: torch.Tensor

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float, seed: int) -> None:
        super().__init__()
        self.scale = scale
        self.core = nn.Parameter(torch.zeros(rank, rank))
        source = torch.Generator("cpu").manual_seed(seed)
        for name, shape in (("reads", (rank, inputs)), ("writes", (outputs, rank))):
            drawn = torch.randn(shape, generator=source, device="cpu") / rank**0.5
            self.register_buffer(name, drawn.to(self.core.device), persistent=False)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Returns the update of the output."""
        return vectors @ self.delta().T

    def delta(self) -> torch.Tensor:
        """Returns the update as a matrix, (outputs, inputs)."""
        return self.scale * (self.writes @ self.core @ self.reads)


def _build(setup: Setup) -> list[Any]:
    given = setup.candidate.parameters
    rank, scale = int(given["rank"]), float(given["scale"])
    targets = enumerate(target_modules(setup))
    return [Core(m.in_features, m.out_features, rank, scale, seed) for seed, m in targets]


def _too_large(setup: Setup) -> tuple[str, ...]:
    rank = int(setup.candidate.parameters["rank"])
    narrow = [m for m in target_modules(setup) if min(m.in_features, m.out_features) < rank]
    return tuple(f"`rank` is {rank}, above the smaller width of {m.name}." for m in narrow[:1])


def _held(setup: Setup) -> int:
    """Both frozen projections of each target, in float32."""
    widths = sum(m.in_features + m.out_features for m in target_modules(setup))
    return 4 * int(setup.candidate.parameters["rank"]) * widths


LEGAL = {"rank": IntDistribution(1, 256, log=True), "scale": FloatDistribution(0.01, 10.0, log=True)}
FORM = additive.Form(
    legal=LEGAL,
    build=_build,
    read=lambda modules: {"rank": modules[0].core.shape[0], "scale": modules[0].scale},
    unfit=_too_large,
)

METHOD = Method(
    name="random_core",
    title="random core",
    family="low-rank",
    paper=Paper(title="LoRA-XS", year=2024, address="https://arxiv.org/abs/2405.17604"),
    summary="Trains a small matrix between two random projections: rank × rank parameters a layer.",
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-4, 1e-1, log=True),
    seeds=(Seed(parameters={"rank": 16, "scale": 1.0}, learning_rate=4e-3, source="a first guess"),),
    trainable=lambda setup: int(setup.candidate.parameters["rank"]) ** 2 * len(target_modules(setup)),
    held=_held,
    **additive.functions(FORM),
)
