"""VeLoRA: LoRA that keeps one number of each group of input features for its backward pass.

Every token's features are cut into groups, and a group is kept as its product with one vector of unit length: the
first batch's mean group (section 3 of the paper). The backward pass computes A's gradient from what the vector gives
back, times a scale; the forward pass, and so what is learnt and saved, is LoRA's.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _lora, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

LEGAL = {
    **_lora.LEGAL,
    "groups": IntDistribution(1, 4096, log=True),
    "backward_scale": FloatDistribution(0.01, 10.0, log=True),
}
CAPABILITIES = replace(_lora.CAPABILITIES, quantized_base=False, servers=(), shardable=False)
"""peft has it for plain layers alone, and saves the vector beside the factors; each process would find its own."""


def _config(setup: Setup) -> Any:
    from peft import VeloraConfig

    given = setup.candidate.parameters
    kept = VeloraConfig(num_groups=given["groups"], scale=given["backward_scale"], init_type="batch_average_once")
    return _lora.config(setup, velora_config=kept)


def _violations(setup: Setup) -> tuple[str, ...]:
    return _lora.violations(setup, CAPABILITIES, LEGAL)


def _held(setup: Setup) -> int:
    """The vector of each weight, as long as a group of its inputs, float32."""
    groups = int(setup.candidate.parameters["groups"])
    return 4 * sum(-(-module.in_features // groups) for module in target_modules(setup))


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.lora import LoraLayer

    layers, name = _peft.layers(attached, LoraLayer), _peft.ADAPTER
    return {
        **_lora.effective(attached),
        "groups": _peft.shared("groups", [layer.lora_velora_num_groups[name] for layer in layers]),
        "backward_scale": _peft.shared("backward_scale", [layer.lora_velora_scale[name] for layer in layers]),
    }


def _load(model: Any, setup: Setup, folder: Path) -> Any:
    """Returns the model with the saved values; a vector that was found stays, where peft would find it anew."""
    from peft.tuners.lora import LoraLayer

    attached = _peft.load_into(METHOD.apply(model, setup), folder)
    for layer in _peft.layers(attached, LoraLayer):
        layer.lora_velora_initialized[_peft.ADAPTER] = bool(layer.lora_velora_embed[_peft.ADAPTER].any())
    return attached


METHOD = _lora.declare(
    name="velora",
    title="VeLoRA",
    paper=Paper(
        title="VeLoRA: Memory Efficient Training using Rank-1 Sub-Token Projections",
        year=2024, address="https://arxiv.org/abs/2405.17991",
    ),
    summary="LoRA that compresses the inputs it keeps for its gradient: less memory where activations are the most.",
    capabilities=CAPABILITIES,
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 16, "alpha": 32, "dropout": 0.0, "groups": 64, "backward_scale": 0.2},
            learning_rate=2e-4,
            source="groups and scale of peft's own example; rank and rate are the default recipe's of plain LoRA here",
        ),
    ),
    refused=_violations,
    peft_config=_config,
    effective=_effective,
    held=_held,
    load=_load,
    keeps_state=True,
)  # fmt: skip
