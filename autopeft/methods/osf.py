"""OSF: trains the smallest singular directions of each weight, kept orthogonal to the frozen ones."""

import re
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {"rank": IntDistribution(1, 4096, log=True)}


def _trainable(setup: Setup) -> int:
    """Both sides of each trained direction, and its singular value."""
    rank = _injected.number(setup, "rank")
    return _injected.total(setup, lambda module: rank * (module.in_features + module.out_features + 1))


def _limits(setup: Setup) -> tuple[str, ...]:
    rank = _injected.number(setup, "rank")

    def none_frozen(module: ModuleShape) -> str:
        most = min(module.in_features, module.out_features) - 1
        return f"`rank` is {rank}, above the {most} directions of {module.name} less one." if rank > most else ""

    return (*_injected.plain_limits(setup), *_injected.first(setup, none_frozen))


def _config(setup: Setup) -> Any:
    """The rank counts the trained directions, as for other methods; peft's counts the frozen ones of each weight."""
    from peft import OSFConfig

    rank = _injected.number(setup, "rank")
    frozen = {f"^{re.escape(m.name)}$": min(m.in_features, m.out_features) - rank for m in target_modules(setup)}
    return OSFConfig(rank_pattern=frozen, **_peft.injected(setup))


def _constrain(attached: Any) -> None:
    """Hangs the projection of the gradients on the parameters anew: peft's cast of 16-bit ones to float32 loses it."""
    from peft.tuners.osf.layer import OSFLayer

    for layer in _peft.layers(attached, OSFLayer):
        layer._detach_hooks()
        layer._attach_hooks(_peft.ADAPTER)


def _held(setup: Setup) -> int:
    """The trained directions as they were, and of a weight that is not square its wider side's others, float32."""
    rank = _injected.number(setup, "rank")

    def directions(module: ModuleShape) -> int:
        narrow, wide = sorted((module.in_features, module.out_features))
        return 4 * (rank * (narrow + wide + 1) + ((narrow - rank) * wide if narrow < wide else 0))

    return _injected.total(setup, directions)


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.osf.layer import OSFLayer

    return _injected.read(
        attached, OSFLayer, rank=lambda layer: int(layer.osf_svd_params[_peft.ADAPTER]["S_low"].shape[0])
    )


METHOD = _injected.declare(
    name="osf",
    title="OSF",
    family="low-rank",
    paper=Paper(
        title="Sculpting Subspaces: Constrained Full Fine-Tuning in LLMs for Continual Learning",
        year=2025, address="https://arxiv.org/abs/2504.07097",
    ),
    summary="Trains only directions that each weight hardly uses, to forget nothing: for one task after the other.",
    capabilities=_injected.capable(shardable=False),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-6, 5e-3, log=True),
    seeds=(
        Seed(
            parameters={"rank": 128}, learning_rate=5e-5,
            source="peft method_comparison MetaMathQA, osf/llama-3.2-3B-rank128: 0.427 on GSM8K",
        ),
        Seed(
            parameters={"rank": 32}, learning_rate=2e-4,
            source="the row above at a smaller rank, its rate raised for short runs; not measured",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    held=_held,
    limits=_limits,
    settle=_constrain,
    memory_factor=2.0,
)  # fmt: skip
