"""IA3: a learned scale per feature, and nothing else."""

from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._targets import ROLES, target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue
from autopeft.values.profiles import ModuleShape


def _feed_forward(module: ModuleShape) -> bool:
    return module.role in ROLES["mlp"]


def _trainable(setup: Setup) -> int:
    """Feed-forward modules are scaled at their input, the others at their output."""
    return sum(m.in_features if _feed_forward(m) else m.out_features for m in target_modules(setup))


def _config(setup: Setup) -> Any:
    from peft import IA3Config

    feed_forward = [module.name for module in target_modules(setup) if _feed_forward(module)]
    return IA3Config(feedforward_modules=feed_forward, fan_in_fan_out=_peft.transposed(setup), **_peft.injected(setup))


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.ia3 import IA3Layer

    _peft.layers(attached, IA3Layer)
    return {}


METHOD = _injected.declare(
    name="ia3",
    title="IA3",
    family="scaling",
    paper=Paper(
        title="Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
        year=2022, address="https://arxiv.org/abs/2205.05638",
    ),
    summary="Learns one scale per feature of the targeted layers: very few parameters, a high learning rate.",
    capabilities=_injected.capable(quantized_base=True),
    legal={},
    learning_rate=FloatDistribution(1e-4, 1e-1, log=True),
    seeds=(
        Seed(
            parameters={}, learning_rate=5e-3,
            source="peft method_comparison MetaMathQA, ia3/llama-3.2-3B-all-attn-5k-lr0.005: 0.455 on GSM8K,"
            " against 0.311 at 1e-4",
        ),
        Seed(parameters={}, learning_rate=3e-3, source="Liu et al., arXiv 2205.05638, section 3.3 (T-Few recipe)"),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
)  # fmt: skip
