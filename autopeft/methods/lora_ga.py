"""LoRA-GA: LoRA whose first step goes where full fine-tuning's first step would go.

With U Σ Vᵀ the singular value decomposition of the loss's gradient with respect to the weight, A starts as the first
r right singular vectors and B as the following r left ones, both scaled for a stable output, and their product is
taken out of the weight (algorithm 1 of the paper). The first update is then the best one of rank 2 r. Without batches
it starts as LoRA does.
"""

from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _lora, _starts
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._from_data import Batches, gradients
from autopeft.methods._legal import rank_violations
from autopeft.values.candidates import Setup

GAMMA = 16.0
"""The paper's γ: the larger, the smaller both factors start."""


def _violations(setup: Setup) -> tuple[str, ...]:
    declared = _lora.violations(setup, _starts.CAPABILITIES)
    rank = setup.candidate.parameters.get("rank")
    if declared or not isinstance(rank, int) or not rank_violations(setup, 2 * rank):
        return declared
    because = "Both factors take singular vectors of their own, so twice the rank must fit. "
    return (because + rank_violations(setup, 2 * rank, "2 × rank")[0],)


def _prepare(attached: Any, setup: Setup, batches: Batches) -> None:
    _starts.begin(attached, gradients(attached, batches, setup.candidate.dtype), _factors, _starts.move)


def _factors(layer: Any, gradient: Any) -> _starts.Factors:
    import torch

    rank = _starts.rank_of(layer)
    u, _, vh = torch.linalg.svd(gradient, full_matrices=False)
    size = len(gradient) ** 0.25 / (GAMMA * _starts.scaling_of(layer)) ** 0.5
    return size * vh[:rank], size * u[:, rank : 2 * rank]


METHOD = _lora.declare(
    name="lora_ga",
    kind="initialization",
    title="LoRA-GA",
    paper=Paper(
        title="LoRA-GA: Low-Rank Adaptation with Gradient Approximation",
        year=2024, address="https://arxiv.org/abs/2407.05000",
    ),
    summary="LoRA that starts along the loss's own gradient, so that its first step resembles full fine-tuning's.",
    capabilities=_starts.CAPABILITIES,
    learning_rate=FloatDistribution(1e-6, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 8, "alpha": 16, "dropout": 0.0}, learning_rate=1e-4,
            source="Wang et al., arXiv 2407.05000: rank 8, alpha 16; the rate is a choice of this project",
        ),
    ),
    refused=_violations,
    save=_starts.save,
    load=_starts.load,
    prepare=_prepare,
)  # fmt: skip
