"""MiCA: LoRA whose second factor is frozen along the directions that each weight uses least.

With W = U Σ Vᵀ, B is the last r columns of U, those of the smallest singular values, and stays so; A starts at zero
and alone trains (section 3 of the paper): what is learnt goes where the pretrained weight says next to nothing.
"""

from dataclasses import replace
from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _lora
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup

CAPABILITIES = replace(_lora.CAPABILITIES, quantized_base=False)
"""peft decomposes the stored weight, which codes are not."""


def _trainable(setup: Setup) -> int:
    """The first factor alone: rank × in."""
    rank = int(setup.candidate.parameters["rank"])
    return sum(rank * module.in_features for module in target_modules(setup))


def _held(setup: Setup) -> int:
    """The second factor, float32."""
    rank = int(setup.candidate.parameters["rank"])
    return 4 * sum(rank * module.out_features for module in target_modules(setup))


def _config(setup: Setup) -> Any:
    return _lora.config(setup, init_lora_weights="mica")


def _violations(setup: Setup) -> tuple[str, ...]:
    return _lora.violations(setup, CAPABILITIES)


METHOD = _lora.declare(
    name="mica",
    kind="initialization",
    title="MiCA",
    paper=Paper(title="Minor Component Adaptation", year=2026, address="https://arxiv.org/abs/2604.01694"),
    summary="LoRA with its second factor frozen at each weight's least used directions: half of the parameters train.",
    capabilities=CAPABILITIES,
    learning_rate=FloatDistribution(1e-5, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 32, "alpha": 64, "dropout": 0.0}, learning_rate=1e-4, targets="qv",
            source="peft method_comparison MetaMathQA, lora/llama-3.2-3B-rank32-mica: 0.431 on GSM8K, plain 0.478",
        ),
    ),
    trainable=_trainable,
    held=_held,
    refused=_violations,
    peft_config=_config,
)  # fmt: skip
