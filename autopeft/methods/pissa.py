"""PiSSA: LoRA that starts from each weight's largest singular values, the rest frozen.

A and B are the first r singular triplets, split evenly (equation 3 of the paper), the frozen weight is what remains
(equation 4): training moves the principal part instead of a product that begins as noise and zero.
"""

from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _lora, _peft, _starts
from autopeft.methods._declaration import Method, Paper, Seed
from autopeft.methods._legal import declared_violations, refuse
from autopeft.values.candidates import Setup


def _violations(setup: Setup) -> tuple[str, ...]:
    return (*declared_violations(setup, _starts.CAPABILITIES, _lora.LEGAL), *_lora.too_large(setup))


def _factors(weight: Any, rank: int, scaling: float) -> _starts.Factors:
    import torch

    u, values, vh = torch.linalg.svd(weight, full_matrices=False)
    return _starts.principal(u, values, vh, rank, scaling)


def _apply(model: Any, setup: Setup) -> Any:
    refuse(setup, _violations)
    return _starts.attach(model, setup, _factors)


def _config(setup: Setup) -> Any:
    return _lora.config(setup, init_lora_weights="pissa")


METHOD = Method(
    name="pissa",
    kind="initialization",
    title="PiSSA",
    family="low-rank",
    paper=Paper(
        title="PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large Language Models",
        year=2024, address="https://arxiv.org/abs/2404.02948",
    ),
    summary="LoRA that starts from the weight's largest singular values and freezes the rest; converges faster.",
    capabilities=_starts.CAPABILITIES,
    legal=_lora.LEGAL,
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
    trainable=_lora.parameters,
    violations=_violations,
    apply=_apply,
    peft_config=_config,
    effective=_lora.effective,
    detach=_peft.detach,
    merge=_peft.merge,
    save=_starts.save,
    load=_starts.load,
)  # fmt: skip
