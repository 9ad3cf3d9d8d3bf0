"""Weight-decomposed LoRA: the direction of each weight moves by LoRA, its magnitude on its own."""

from pathlib import Path
from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _lora, _peft
from autopeft.methods._declaration import Capabilities, Method, Paper, Seed
from autopeft.methods._legal import declared_violations, refuse
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup

CAPABILITIES = Capabilities(
    tasks=_peft.ALL_TASKS, models=_peft.ALL_KINDS, quantized_base=True, mergeable=True, identity_at_start=True,
    adds_latency=False, changes_base=False, takes_targets=True, takes_layers=True,
)  # fmt: skip


def _trainable(setup: Setup) -> int:
    """LoRA's factors and one magnitude per output feature."""
    return _lora.parameters(setup) + sum(module.out_features for module in target_modules(setup))


def _violations(setup: Setup) -> tuple[str, ...]:
    found = (*declared_violations(setup, CAPABILITIES, _lora.LEGAL), *_lora.too_large(setup))
    if setup.candidate.quantization == "int8":
        # Measured with peft 0.21.2 and bitsandbytes 0.50 on a CPU: the second step fails.
        found = (*found, "The method reads the base weights at every step, and those in int8 lose their scale by it.")
    return found


def _config(setup: Setup) -> Any:
    return _lora.config(setup, use_dora=True)


def _apply(model: Any, setup: Setup) -> Any:
    refuse(setup, _violations)
    return _peft.attach(model, _config(setup))


def _load(model: Any, setup: Setup, folder: Path) -> Any:
    return _peft.load_into(_apply(model, setup), folder)


METHOD = Method(
    name="dora",
    title="DoRA",
    family="low-rank",
    paper=Paper(
        title="DoRA: Weight-Decomposed Low-Rank Adaptation", year=2024, address="https://arxiv.org/abs/2402.09353"
    ),
    summary="LoRA on the direction of each weight plus a learned magnitude: better at low rank, slower, more memory.",
    capabilities=CAPABILITIES,
    legal=_lora.LEGAL,
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
    violations=_violations,
    apply=_apply,
    peft_config=_config,
    effective=_lora.effective,
    detach=_peft.detach,
    merge=_peft.merge,
    save=_peft.save,
    load=_load,
    memory_factor=1.6,
)  # fmt: skip
