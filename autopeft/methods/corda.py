"""CorDA: LoRA that starts from the part of each weight that matters most for the data's activations.

With C the covariance of a layer's inputs, W C = U Σ Vᵀ; B and A are the first r triplets, A multiplied by C⁻¹, and
their product is taken out of W (section 3.2 of the paper, instruction-previewed adaptation). C is damped on its
diagonal, so that it can be inverted. Without batches it starts as LoRA does.
"""

from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _lora, _starts
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._from_data import Batches, covariances
from autopeft.values.candidates import Setup

DAMPING = 0.01
"""Share of the mean variance that is added to every variance."""


def damped(covariance: Any) -> Any:
    """Returns the covariance with `DAMPING` on its diagonal."""
    import torch

    return covariance + DAMPING * covariance.diagonal().mean() * torch.eye(len(covariance), device=covariance.device)


def _prepare(attached: Any, setup: Setup, batches: Batches) -> None:
    _starts.begin(attached, covariances(attached, batches, setup.candidate.dtype), _factors, _starts.move)


def _factors(layer: Any, seen: Any) -> _starts.Factors:
    import torch

    covariance = damped(seen)
    u, values, vh = torch.linalg.svd(_starts.weight_of(layer) @ covariance, full_matrices=False)
    first, second = _starts.principal(u, values, vh, _starts.rank_of(layer), _starts.scaling_of(layer))
    return torch.linalg.solve(covariance, first, left=False), second


METHOD = _lora.declare(
    name="corda",
    kind="initialization",
    title="CorDA",
    paper=Paper(
        title="CorDA: Context-Oriented Decomposition Adaptation of Large Language Models",
        year=2024, address="https://arxiv.org/abs/2406.05223",
    ),
    summary="LoRA that starts from the part of each weight that the training data's activations use most.",
    capabilities=_starts.CAPABILITIES,
    learning_rate=FloatDistribution(1e-6, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 16, "alpha": 16, "dropout": 0.0}, learning_rate=2e-4,
            source="Yang et al., arXiv 2406.05223: the recipe of PiSSA, alpha equal to the rank; rank and rate for"
            " short runs are a choice of this project",
        ),
    ),
    save=_starts.save,
    load=_starts.load,
    prepare=_prepare,
)  # fmt: skip
