"""HRA: a chain of Householder reflections before each weight, orthogonal and of low rank at once."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# Reflections start in equal pairs that undo each other; an odd count would not be the identity at the start.
LEGAL: dict[str, "BaseDistribution"] = {"rank": IntDistribution(2, 256, step=2)}


def _trainable(setup: Setup) -> int:
    """One vector of the input's width per reflection."""
    rank = _injected.number(setup, "rank")
    return _injected.total(setup, lambda module: rank * module.in_features)


def _limits(setup: Setup) -> tuple[str, ...]:
    rank = _injected.number(setup, "rank")
    odd = (f"`rank` counts reflections in pairs and must be even; got {rank}.",) if rank % 2 else ()
    return (*odd, *_injected.plain_limits(setup), *_injected.rank_limits(setup))


def _config(setup: Setup) -> Any:
    from peft import HRAConfig

    return HRAConfig(r=setup.candidate.parameters["rank"], **_peft.injected(setup))


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.hra import HRALayer

    return _injected.read(attached, HRALayer, rank=lambda layer: int(layer.hra_u[_peft.ADAPTER].shape[1]))


METHOD = _injected.declare(
    name="hra",
    title="HRA",
    family="orthogonal",
    paper=Paper(
        title="Bridging The Gap between Low-rank and Orthogonal Adaptation via Householder Reflection Adaptation",
        year=2024, address="https://arxiv.org/abs/2405.17484",
    ),
    summary="Multiplies each targeted weight by a few reflections: orthogonal, at half of LoRA's parameters.",
    capabilities=_injected.capable(),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 8}, learning_rate=1e-3,
            source="rank of Yuan et al., arXiv 2405.17484, on GLUE; the rate is set here and not measured",
        ),
        Seed(
            parameters={"rank": 32}, learning_rate=1e-4, targets="qv",
            source="rank of Yuan et al., arXiv 2405.17484, on LLaMA-2 7B; the rate is set here and not measured",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    limits=_limits,
    memory_factor=2.0,
)  # fmt: skip
