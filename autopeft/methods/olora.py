"""OLoRA: LoRA that starts from an orthonormal basis, by QR decomposition of each weight.

B is the first r columns of Q and A the first r rows of R (section 3 of the paper), divided evenly by LoRA's scaling in
A; their product is taken out of the frozen weight.
"""

from functools import partial
from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _lora, _starts
from autopeft.methods._declaration import Paper, Seed


def _factors(weight: Any, rank: int, scaling: float) -> _starts.Factors:
    import torch

    basis, rest = torch.linalg.qr(weight)
    return rest[:rank] / scaling, basis[:, :rank]


METHOD = _lora.declare(
    name="olora",
    kind="initialization",
    title="OLoRA",
    paper=Paper(
        title="OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models",
        year=2024, address="https://arxiv.org/abs/2406.01775",
    ),
    summary="LoRA whose second factor starts with orthonormal columns, from the QR decomposition of the weight.",
    capabilities=_starts.CAPABILITIES,
    learning_rate=FloatDistribution(1e-6, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 32, "alpha": 16, "dropout": 0.05}, learning_rate=3e-4,
            source="Büyükakyüz, arXiv 2406.01775, section 4: ranks 32 and 64, alpha 16, dropout 0.05, rate 3e-4",
        ),
    ),
    attach=partial(_starts.attach, factors=_factors),
    save=_starts.save,
    load=_starts.load,
)  # fmt: skip
