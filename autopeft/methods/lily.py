"""Lily: low-rank factors shared across layers, the second mixed from experts by a router.

The router averages over the whole batch, so a row's output depends a little on the rows beside it.
"""

from collections import Counter
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

LEGAL: dict[str, "BaseDistribution"] = {
    "rank": IntDistribution(1, 2048, log=True),
    "stride": IntDistribution(1, 256, log=True),
    "experts": IntDistribution(2, 64, log=True),
    "scaling": FloatDistribution(0.01, 100.0, log=True),
}


def _place(module: ModuleShape) -> str:
    """Returns a module's name inside its layer: what layers have in common, and so share."""
    parts = module.name.split(".")
    return ".".join(parts[next(i for i, part in enumerate(parts) if part.isdecimal()) + 1 :])


def _trainable(setup: Setup) -> int:
    """One first factor per stride of layers, one second factor with all experts, and a router in each layer."""
    rank, stride, experts = (_injected.number(setup, key) for key in ("rank", "stride", "experts"))
    groups = Counter((_place(m), m.in_features, m.out_features) for m in target_modules(setup))
    return sum(
        -(-layers // stride) * rank * inputs + experts * rank * outputs + layers * rank * experts
        for (_, inputs, outputs), layers in groups.items()
    )


def _limits(setup: Setup) -> tuple[str, ...]:
    return (*_injected.plain_limits(setup), *_injected.rank_limits(setup), *_ambiguous(setup))


def _ambiguous(setup: Setup) -> tuple[str, ...]:
    """Factors are shared by the end of the name and the shape; which of two ends peft takes depends on hashing."""
    kinds = {(_place(m), m.in_features, m.out_features) for m in target_modules(setup)}
    for longer, *shape in sorted(kinds):
        for shorter, *other in sorted(kinds):
            if longer != shorter and longer.endswith(shorter) and shape == other:
                return (f"{longer} and {shorter} have one shape, and peft cannot tell whose factors they share.",)
    return ()


def _config(setup: Setup) -> Any:
    """Names the targets by their place, since modules named in full would share nothing."""
    from peft import LilyConfig

    given, targets = setup.candidate.parameters, target_modules(setup)
    places, chosen = sorted({_place(module) for module in targets}), {module.name for module in targets}
    others = [m.name for m in setup.model.modules if m.name not in chosen and _ends(m.name, places)]
    shared = {**_peft.head(setup), "target_modules": places, "exclude_modules": others or None}
    return LilyConfig(
        r=given["rank"], stride_A=given["stride"], num_B=given["experts"], scaling=given["scaling"], **shared
    )


def _ends(name: str, places: list[str]) -> bool:
    return any(name == place or name.endswith(f".{place}") for place in places)


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.lily import LilyLayer

    name = _peft.ADAPTER
    return _injected.read(
        attached, LilyLayer, rank=lambda layer: int(layer.lily_A[name].weight.shape[0]),
        stride=lambda layer: int(layer.stride_A[name]),
        experts=lambda layer: int(layer.lily_router[name].weight.shape[0]),
        scaling=lambda layer: float(layer.scaling[name]),
    )  # fmt: skip


METHOD = _injected.declare(
    name="lily",
    title="Lily",
    family="low-rank",
    paper=Paper(
        title="Low-Rank Interconnected Adaptation across Layers", year=2024, address="https://arxiv.org/abs/2407.09946"
    ),
    summary="Shares LoRA's factors across layers and routes between second factors; best of the measured runs.",
    capabilities=_injected.capable(quantized_base=True, mergeable=False, shardable=False),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 140, "stride": 14, "experts": 2, "scaling": 8.0}, learning_rate=1e-4, targets="mlp",
            source="peft method_comparison MetaMathQA, lily/llama-3.2-3B-rank140-mlp-a2-b2-s8.0: 0.526 on GSM8K,"
            " the best of 63 runs, with as many parameters as LoRA of rank 10 there (0.494)",
        ),
        Seed(
            parameters={"rank": 32, "stride": 4, "experts": 2, "scaling": 4.0}, learning_rate=5e-4,
            source="the row above in small, for models of a few hundred features; not measured",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    limits=_limits,
)  # fmt: skip
