"""BD-LoRA: LoRA with one factor of each pair block-diagonal, so that devices which share a model need not talk.

Where a weight's outputs are divided over the devices (queries, keys, values, up and gate), B is block-diagonal; where
its inputs are (output and down), A is (section 3 of the paper). With n blocks that factor has an n-th of its entries.
"""

from dataclasses import replace
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _lora, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue
from autopeft.values.profiles import ModuleShape

LEGAL = {**_lora.LEGAL, "blocks": IntDistribution(1, 64, log=True)}
CAPABILITIES = replace(_lora.CAPABILITIES, quantized_base=False, servers=())
"""On a quantized base peft 0.21 makes plain LoRA of it without a word."""

INPUTS_DIVIDED = frozenset({"output", "down"})
OUTPUTS_DIVIDED = frozenset({"query", "key", "value", "qkv", "up", "gate", "gate_up"})


def _named(setup: Setup, roles: frozenset[str]) -> list[str]:
    return [module.name for module in target_modules(setup) if module.role in roles]


def _config(setup: Setup) -> Any:
    from peft import BdLoraConfig

    blocks = BdLoraConfig(
        target_modules_bd_a=_named(setup, INPUTS_DIVIDED), target_modules_bd_b=_named(setup, OUTPUTS_DIVIDED),
        nblocks=setup.candidate.parameters["blocks"],
    )  # fmt: skip
    return _lora.config(setup, use_bdlora=blocks)


def _first_factors(setup: Setup) -> int:
    """LoRA's first factors, divided by the blocks where the inputs are."""
    rank, blocks = _injected.number(setup, "rank"), _injected.number(setup, "blocks")
    return _injected.total(setup, lambda m: rank * m.in_features // (blocks if m.role in INPUTS_DIVIDED else 1))


def _trainable(setup: Setup) -> int:
    """LoRA's factors, one of each pair divided by the blocks."""
    rank, blocks = _injected.number(setup, "rank"), _injected.number(setup, "blocks")

    def count(module: ModuleShape) -> int:
        inputs, outputs = module.in_features, module.out_features
        return rank * (inputs // blocks + outputs if module.role in INPUTS_DIVIDED else inputs + outputs // blocks)

    return _injected.total(setup, count)


def _violations(setup: Setup) -> tuple[str, ...]:
    found = _lora.violations(setup, CAPABILITIES, LEGAL)
    return found or (
        *_injected.plain_limits(setup), *_uneven_rank(setup), *_injected.first(setup, lambda each: _unfit(setup, each))
    )  # fmt: skip


def _uneven_rank(setup: Setup) -> tuple[str, ...]:
    rank, blocks = _injected.number(setup, "rank"), _injected.number(setup, "blocks")
    return (f"`blocks` is {blocks}, which does not divide `rank` {rank}.",) if rank % blocks else ()


def _unfit(setup: Setup, module: ModuleShape) -> str:
    blocks = _injected.number(setup, "blocks")
    if module.role not in INPUTS_DIVIDED | OUTPUTS_DIVIDED:
        return f"{module.name} is neither attention nor feed-forward: which side to divide is not known."
    inputs = module.role in INPUTS_DIVIDED
    width = module.in_features if inputs else module.out_features
    if width % blocks == 0:
        return ""
    side = "input" if inputs else "output"
    return f"`blocks` is {blocks}, which does not divide the {side} width {width} of {module.name}."


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.lora import LoraLayer

    layers = _peft.layers(attached, LoraLayer)
    return {**_lora.effective(attached), "blocks": _peft.shared("blocks", [_blocks(layer) for layer in layers])}


def _blocks(layer: Any) -> int:
    factors = layer.lora_A[_peft.ADAPTER], layer.lora_B[_peft.ADAPTER]
    return max(int(getattr(factor, "nblocks", 1)) for factor in factors)


METHOD = _lora.declare(
    name="bdlora",
    title="BD-LoRA",
    paper=Paper(
        title="Block-Diagonal LoRA for Eliminating Communication Overhead in Tensor Parallel LoRA Serving",
        year=2025, address="https://arxiv.org/abs/2510.23346",
    ),
    summary="LoRA with one factor of each pair block-diagonal: fewer parameters, for serving on several devices.",
    capabilities=CAPABILITIES,
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 14, "alpha": 28, "dropout": 0.0, "blocks": 2}, learning_rate=1e-4, targets="mlp",
            source="peft method_comparison MetaMathQA, lora/llama-3.2-3B-rank14-target-mlp-bdlora: 0.487 on GSM8K,"
            " plain LoRA of rank 10 there 0.494",
        ),
    ),
    trainable=_trainable,
    first_factors=_first_factors,
    refused=_violations,
    peft_config=_config,
    effective=_effective,
)  # fmt: skip
