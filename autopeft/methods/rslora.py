"""Rank-stabilised LoRA: the update scaled by the square root of the rank, so that large ranks learn."""

from pathlib import Path
from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _lora, _peft
from autopeft.methods._declaration import Capabilities, Method, Paper, Seed
from autopeft.methods._legal import declared_violations, refuse
from autopeft.values.candidates import Setup

CAPABILITIES = Capabilities(
    tasks=_peft.ALL_TASKS, models=_peft.ALL_KINDS, quantized_base=True, mergeable=True, identity_at_start=True,
    adds_latency=False, changes_base=False, takes_targets=True, takes_layers=True,
    servers=("vllm", "tgi", "lorax"),
)  # fmt: skip


def _violations(setup: Setup) -> tuple[str, ...]:
    return (*declared_violations(setup, CAPABILITIES, _lora.LEGAL), *_lora.too_large(setup))


def _config(setup: Setup) -> Any:
    return _lora.config(setup, use_rslora=True)


def _apply(model: Any, setup: Setup) -> Any:
    refuse(setup, _violations)
    return _peft.attach(model, _config(setup))


def _load(model: Any, setup: Setup, folder: Path) -> Any:
    return _peft.load_into(_apply(model, setup), folder)


METHOD = Method(
    name="rslora",
    title="rsLoRA",
    family="low-rank",
    paper=Paper(
        title="A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA",
        year=2023, address="https://arxiv.org/abs/2312.03732",
    ),
    summary="LoRA scaled by alpha over the square root of the rank: higher ranks keep their step size.",
    capabilities=CAPABILITIES,
    legal=_lora.LEGAL,
    learning_rate=FloatDistribution(1e-5, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 64, "alpha": 64, "dropout": 0.0}, learning_rate=1e-4, targets="qv",
            source="peft method_comparison MetaMathQA, lora/llama-3.2-3B-rank64-rslora: 0.513 on GSM8K,"
            " against 0.474 for plain scaling at the same rank",
        ),
    ),
    trainable=_lora.parameters,
    violations=_violations,
    apply=_apply,
    peft_config=_config,
    effective=_lora.effective,
    detach=_peft.detach,
    merge=_peft.merge,
    save=_peft.save,
    load=_load,
)  # fmt: skip
