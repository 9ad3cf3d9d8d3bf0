"""PiSSA: LoRA that starts from each weight's largest singular values, the rest frozen.

A and B are the first r singular triplets, split evenly (equation 3 of the paper), the frozen weight is what remains
(equation 4): training moves the principal part instead of a product that begins as noise and zero.
"""

from functools import partial
from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _lora, _starts
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup


def _factors(weight: Any, rank: int, scaling: float) -> _starts.Factors:
    import torch

    u, values, vh = torch.linalg.svd(weight, full_matrices=False)
    return _starts.principal(u, values, vh, rank, scaling)


def _config(setup: Setup) -> Any:
    return _lora.config(setup, init_lora_weights="pissa")


METHOD = _lora.declare(
    name="pissa",
    kind="initialization",
    title="PiSSA",
    paper=Paper(
        title="PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large Language Models",
        year=2024, address="https://arxiv.org/abs/2404.02948",
    ),
    summary="LoRA that starts from the weight's largest singular values and freezes the rest; converges faster.",
    capabilities=_starts.CAPABILITIES,
    learning_rate=FloatDistribution(1e-6, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 16, "alpha": 16, "dropout": 0.0}, learning_rate=2e-4,
            source="alpha equal to the rank and no dropout as published; ten times the published rate, for short runs:"
            " a choice of this project",
        ),
        Seed(
            parameters={"rank": 128, "alpha": 128, "dropout": 0.0}, learning_rate=2e-5,
            source="Meng et al., arXiv 2404.02948, section 5: alpha equal to the rank, no dropout, rate 2e-5",
        ),
    ),
    peft_config=_config,
    attach=partial(_starts.attach, factors=_factors),
    save=_starts.save,
    load=_starts.load,
)  # fmt: skip
