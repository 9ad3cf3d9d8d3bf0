"""RoAd: rotates and scales pairs of each weight's outputs."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

PER_OUTPUT = {"road_1": 1, "road_2": 2, "road_4": 4}
"""Angles and scales together, for each output, by variant."""
LEGAL: dict[str, "BaseDistribution"] = {
    "variant": CategoricalDistribution(tuple(PER_OUTPUT)),
    "group_size": IntDistribution(2, 1024, step=2),
}


def _trainable(setup: Setup) -> int:
    """Angles and scales: one, two or four per output."""
    each = PER_OUTPUT[str(setup.candidate.parameters["variant"])]
    return _injected.total(setup, lambda module: each * module.out_features)


def _limits(setup: Setup) -> tuple[str, ...]:
    size = _injected.number(setup, "group_size")
    odd = (f"`group_size` holds pairs and must be even; got {size}.",) if size % 2 else ()
    divided = _injected.division_limits(setup, "group_size", inputs=False, outputs=True)
    return (*odd, *_injected.plain_limits(setup), *divided)


def _config(setup: Setup) -> Any:
    from peft import RoadConfig

    given = setup.candidate.parameters
    return RoadConfig(variant=given["variant"], group_size=given["group_size"], **_peft.injected(setup))


def _variant(layer: Any) -> str:
    values = 2 * layer.road_theta[_peft.ADAPTER].numel()
    return next(name for name, each in PER_OUTPUT.items() if each * layer.out_features == values)


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.road import RoadLayer

    return _injected.read(
        attached, RoadLayer, variant=_variant, group_size=lambda layer: int(layer.group_size[_peft.ADAPTER])
    )


METHOD = _injected.declare(
    name="road",
    title="RoAd",
    family="scaling",
    paper=Paper(
        title="3-in-1: 2D Rotary Adaptation for Efficient Finetuning, Efficient Batching and Composability",
        year=2024, address="https://arxiv.org/abs/2409.00119",
    ),
    summary="Rotates and scales pairs of outputs: as few parameters as scaling methods, at high rates.",
    capabilities=_injected.capable(quantized_base=True),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-4, 5e-2, log=True),
    seeds=(
        Seed(
            parameters={"variant": "road_1", "group_size": 64}, learning_rate=3e-3,
            source="variant of Liao and Monz, arXiv 2409.00119; peft's documentation and example advise 1e-3 to 3e-3",
        ),
        Seed(
            parameters={"variant": "road_2", "group_size": 64}, learning_rate=1e-3, targets="qv",
            source="peft method_comparison MetaMathQA, road/llama-3.2-3B-lr_0.001: 0.385 on GSM8K"
            " from 0.23 M parameters",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    limits=_limits,
)  # fmt: skip
