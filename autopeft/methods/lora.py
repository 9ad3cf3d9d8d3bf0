"""Low-rank adaptation: a product of two small matrices beside each targeted weight."""

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
    servers=("vllm", "sglang", "tgi", "lorax", "llama.cpp"),
)  # fmt: skip


def _violations(setup: Setup) -> tuple[str, ...]:
    return (*declared_violations(setup, CAPABILITIES, _lora.LEGAL), *_lora.too_large(setup))


def _apply(model: Any, setup: Setup) -> Any:
    refuse(setup, _violations)
    return _peft.attach(model, _lora.config(setup))


def _load(model: Any, setup: Setup, folder: Path) -> Any:
    return _peft.load_into(_apply(model, setup), folder)


METHOD = Method(
    name="lora",
    title="LoRA",
    family="low-rank",
    paper=Paper(
        title="LoRA: Low-Rank Adaptation of Large Language Models", year=2021, address="https://arxiv.org/abs/2106.09685"
    ),
    summary="Adds the product of two low-rank matrices to each targeted weight; merges away for inference.",
    capabilities=CAPABILITIES,
    legal=_lora.LEGAL,
    learning_rate=FloatDistribution(1e-5, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 8, "alpha": 16, "dropout": 0.0}, learning_rate=1e-3,
            source="measured: MiniLM on rated movie-review snippets, 0.841 accuracy after 400 steps of 16",
        ),
        Seed(
            parameters={"rank": 10, "alpha": 20, "dropout": 0.0}, learning_rate=1e-4, targets="mlp",
            source="peft method_comparison MetaMathQA, lora/llama-3.2-3B-rank10-target-mlp: 0.494 on GSM8K",
        ),
        Seed(
            parameters={"rank": 32, "alpha": 64, "dropout": 0.0}, learning_rate=1e-4, targets="qv",
            source="peft method_comparison MetaMathQA, lora/llama-3.2-3B-rank32: 0.478 on GSM8K",
        ),
    ),
    trainable=_lora.parameters,
    violations=_violations,
    apply=_apply,
    peft_config=_lora.config,
    effective=_lora.effective,
    detach=_peft.detach,
    merge=_peft.merge,
    save=_peft.save,
    load=_load,
    baseline={
        "default": Seed(
            parameters={"rank": 16, "alpha": 32, "dropout": 0.0}, learning_rate=2e-4,
            source="the recipe most tutorials give: rank 16, alpha twice the rank, all linear layers, 2e-4",
        )
    },
)  # fmt: skip
