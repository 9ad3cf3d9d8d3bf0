"""Weight-decomposed LoRA: the direction of each weight moves by LoRA, its magnitude on its own."""

from dataclasses import replace
from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _lora
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup

CAPABILITIES = replace(_lora.CAPABILITIES, servers=())


def _trainable(setup: Setup) -> int:
    """LoRA's factors and one magnitude per output feature."""
    return _lora.parameters(setup) + sum(module.out_features for module in target_modules(setup))


def _violations(setup: Setup) -> tuple[str, ...]:
    found = _lora.violations(setup, CAPABILITIES)
    if setup.candidate.quantization == "int8":
        # Measured with peft 0.21.2 and bitsandbytes 0.50 on a CPU: the second step fails.
        found = (*found, "The method reads the base weights at every step, and those in int8 lose their scale by it.")
    return found


def _config(setup: Setup) -> Any:
    return _lora.config(setup, use_dora=True)


METHOD = _lora.declare(
    name="dora",
    title="DoRA",
    paper=Paper(
        title="DoRA: Weight-Decomposed Low-Rank Adaptation", year=2024, address="https://arxiv.org/abs/2402.09353"
    ),
    summary="LoRA on the direction of each weight plus a learned magnitude: better at low rank, slower, more memory.",
    capabilities=CAPABILITIES,
    learning_rate=FloatDistribution(1e-5, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 8, "alpha": 16, "dropout": 0.0}, learning_rate=1e-3,
            source="Liu et al., arXiv 2402.09353: half of LoRA's rank suffices; learning rate as measured for LoRA",
        ),
        Seed(
            parameters={"rank": 32, "alpha": 64, "dropout": 0.0}, learning_rate=1e-4, targets="qv",
            source="peft method_comparison MetaMathQA, lora/llama-3.2-3B-rank32-dora: 0.469 on GSM8K",
        ),
    ),
    trainable=_trainable,
    refused=_violations,
    peft_config=_config,
    memory_factor=1.6,
)  # fmt: skip
