"""Compacter: Houlsby's adapters with weights that are sums of Kronecker products, most of them shared or of low rank.

W = Σᵢ Aᵢ ⊗ (sᵢ tᵢᵀ), i = 1 … n: the Aᵢ (n × n) are one set for all adapters of the model, the sᵢ and tᵢ of rank r
belong to one projection of one adapter. A projection from k to d features takes r (k + d) weights instead of k d; with
the shared n³ and the biases, L layers of two adapters come to n³ + 2 L (2 r (k + d) + k + d). The places are
Houlsby's: after attention and after the feed-forward.

sᵢ and tᵢ start uniform by Glorot's rule, as in the authors' code. What is this project's: Aᵢ is drawn with variance
1/n, which gives the down-projection a linear layer's size (the authors draw it close to zero), and tᵢ of the
up-projection starts at zero, so that the start is the base exactly, not nearly. Layer norms stay frozen.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _adapters, _hooks, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue, Role
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ROLES: tuple[Role, ...] = ("output", "down")
LEGAL: dict[str, "BaseDistribution"] = {
    "bottleneck": _adapters.LEGAL["bottleneck"],
    "divisions": IntDistribution(2, 64, log=True),
    "rank": IntDistribution(1, 256, log=True),
    "activation": _adapters.LEGAL["activation"],
}


def _sizes(setup: Setup) -> tuple[int, int, int]:
    given = setup.candidate.parameters
    return int(given["bottleneck"]), int(given["divisions"]), int(given["rank"])


def _trainable(setup: Setup) -> int:
    inner, divisions, rank = _sizes(setup)
    widths = [module.out_features for module in _adapters.places(setup, ROLES)]
    return divisions**3 + sum((2 * rank + 1) * (width + inner) for width in widths)


def _unfit(setup: Setup) -> tuple[str, ...]:
    inner, divisions, rank = _sizes(setup)
    if inner % divisions:
        return (f"`divisions` is {divisions}, which does not divide `bottleneck` {inner}.",)
    if rank > inner // divisions:
        return (f"`rank` is {rank}, above `bottleneck` / `divisions` = {inner // divisions}.",)
    for module in _adapters.places(setup, ROLES):
        if module.out_features % divisions:
            width = module.out_features
            return (f"`divisions` is {divisions}, which does not divide the width {width} after {module.name}.",)
    return ()


def _build(setup: Setup, where: tuple[ModuleShape, ...]) -> list[Any]:
    from autopeft.methods._hypercomplex import CompactBottleneck, shared_rules

    inner, divisions, rank = _sizes(setup)
    rules, activation = shared_rules(divisions), str(setup.candidate.parameters["activation"])
    return [CompactBottleneck(shape.out_features, inner, rules, rank, activation) for shape in where]


def _effective(model: Any) -> dict[str, ParameterValue]:
    found = _hooks.children(model)
    return {
        "bottleneck": _peft.shared("bottleneck", [m.down.bias.numel() for m in found]),
        "divisions": _peft.shared("divisions", [m.down.rules.shape[0] for m in found]),
        "rank": _peft.shared("rank", [m.up.left.shape[2] for m in found]),
        "activation": _peft.shared("activation", [m.activation_name for m in found]),
    }


METHOD = _adapters.declare(
    name="compacter",
    title="Compacter",
    paper=Paper(
        title="Compacter: Efficient Low-Rank Hypercomplex Adapter Layers", year=2021,
        address="https://arxiv.org/abs/2106.04647",
    ),
    summary="Houlsby's adapters from Kronecker products with shared factors: some 0.05 % of the parameters.",
    legal=LEGAL,
    roles=ROLES,
    learning_rate=FloatDistribution(1e-5, 5e-2, log=True),
    seeds=(
        Seed(
            parameters={"bottleneck": 24, "divisions": 4, "rank": 1, "activation": "gelu"}, learning_rate=1e-2,
            targets="none",
            source="sizes of Mahabadi et al., arXiv 2106.04647; the rate measured here, 50 steps of 16 movie reviews"
            " on MiniLM, where theirs of 3e-3 learns little",
        ),
        Seed(
            parameters={"bottleneck": 24, "divisions": 4, "rank": 1, "activation": "gelu"}, learning_rate=3e-3,
            targets="none",
            source="Mahabadi et al., arXiv 2106.04647: a width of 768 reduced by 32, n = 4, rank 1, 3e-3 on T5",
        ),
    ),
    trainable=_trainable,
    unfit=_unfit,
    attach=partial(_adapters.stand, roles=ROLES, build=_build),
    effective=_effective,
    memory_factor=0.5,
    shardable=False,  # all layers share the factors, and each is its own unit of sharding
)  # fmt: skip
