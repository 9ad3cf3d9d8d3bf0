"""EVA: LoRA whose first factor starts along the directions in which the data's activations vary most.

A is made of the first r right singular vectors of each layer's inputs on some training batches, B is zero (section 3
of the paper). Every layer keeps the same rank: the paper's second step, which gives layers that explain more a higher
rank, would make the number of parameters depend on the data. Without batches it starts as LoRA does.
"""

from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _lora, _peft, _starts
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._from_data import Batches, covariances
from autopeft.values.candidates import Setup


def _prepare(attached: Any, setup: Setup, batches: Batches) -> None:
    _starts.begin(attached, covariances(attached, batches, setup.candidate.dtype), _factors, _starts.put)


def _factors(layer: Any, covariance: Any) -> _starts.Factors:
    import torch

    # Ascending: the last ones belong to the largest variance.
    directions = torch.linalg.eigh(covariance).eigenvectors[:, -_starts.rank_of(layer) :].flip(1)
    return directions.T, torch.zeros_like(layer.lora_B[_peft.ADAPTER].weight)


METHOD = _lora.declare(
    name="eva",
    kind="initialization",
    title="EVA",
    paper=Paper(
        title="One Initialization to Rule them All: Fine-tuning via Explained Variance Adaptation",
        year=2024, address="https://arxiv.org/abs/2410.07170",
    ),
    summary="LoRA whose first factor starts along the main directions of the training data's own activations.",
    capabilities=_lora.CAPABILITIES,
    learning_rate=FloatDistribution(1e-5, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 16, "alpha": 16, "dropout": 0.0}, learning_rate=5e-4,
            source="Paischer et al., arXiv 2410.07170: rank 16; the rate is a choice of this project",
        ),
    ),
    prepare=_prepare,
)  # fmt: skip
