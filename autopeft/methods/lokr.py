"""LoKr: a Kronecker product of a small full matrix and a low-rank one (KronA's form)."""

from math import isqrt
from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from autopeft.methods import _injected, _lycoris, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {
    "rank": IntDistribution(1, 1024, log=True),
    "alpha": IntDistribution(1, 4096, log=True),
    "decompose_factor": CategoricalDistribution((-1, 1, 2, 4, 8, 16, 32)),
}


def factors(size: int, factor: int) -> tuple[int, int]:
    """Returns the two whole factors of a width that peft splits it into.

    Args:
        size: the width.
        factor: the wanted first factor; where it does not divide, or is -1, the largest divisor up to it and
            up to the square root.
    """
    if factor > 0 and size % factor == 0:
        return factor, size // factor
    highest = isqrt(size) if factor < 0 else min(isqrt(size), factor)
    first = next(divisor for divisor in range(highest, 0, -1) if size % divisor == 0)
    return first, size // first


def _split(setup: Setup, module: ModuleShape) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns the factors of a module's output and of its input width."""
    factor = int(setup.candidate.parameters["decompose_factor"])
    return factors(module.out_features, factor), factors(module.in_features, factor)


def _trainable(setup: Setup) -> int:
    """The small matrix in full, the large one as rank × (its rows + its columns)."""
    rank, total = int(setup.candidate.parameters["rank"]), 0
    for module in target_modules(setup):
        (out_small, out_large), (in_small, in_large) = _split(setup, module)
        total += out_small * in_small + rank * (out_large + in_large)
    return total


def _limits(setup: Setup) -> tuple[str, ...]:
    return _injected.plain_limits(setup) or _without_effect(setup)


def _without_effect(setup: Setup) -> tuple[str, ...]:
    # peft drops the rank silently where the large factor is no bigger than twice the rank.
    rank = int(setup.candidate.parameters["rank"])
    for module in target_modules(setup):
        (_, out_large), (_, in_large) = _split(setup, module)
        if 2 * rank >= max(out_large, in_large):
            return (
                f"`rank` is {rank}, but {module.name} splits into factors of at most {max(out_large, in_large)}:"
                " from half of that on the rank has no effect.",
            )
    return ()


def _config(setup: Setup) -> Any:
    from peft import LoKrConfig

    given = setup.candidate.parameters
    return LoKrConfig(
        r=given["rank"], alpha=given["alpha"], decompose_factor=given["decompose_factor"], **_peft.injected(setup)
    )


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.lokr.layer import LoKrLayer

    layers = _peft.layers(attached, LoKrLayer)
    ranks = [int(layer.lokr_w2_b[_peft.ADAPTER].shape[0]) for layer in layers]
    asked = attached.peft_config[_peft.ADAPTER].decompose_factor
    return {
        "rank": _peft.shared("rank", list(ranks)),
        "alpha": _lycoris.alpha(layers, ranks),
        "decompose_factor": _effective_factor(layers, asked),
    }


def _effective_factor(layers: list[Any], asked: int) -> ParameterValue:
    """Returns a factor that explains every layer's split: the one asked for where it does."""
    seen = {_sizes(layer) for layer in layers}
    choices: list[int] = [asked, *range(1, max(max(sizes[:2]) for sizes in seen) + 1)]
    return next(f for f in choices if all((out, into) == _first_factors(o, i, f) for out, into, o, i in seen))


def _sizes(layer: Any) -> tuple[int, int, int, int]:
    small, base = layer.lokr_w1[_peft.ADAPTER], layer.get_base_layer()
    return small.shape[0], small.shape[1], base.out_features, base.in_features


def _first_factors(output: int, into: int, factor: int) -> tuple[int, int]:
    return factors(output, factor)[0], factors(into, factor)[0]


METHOD = _injected.declare(
    name="lokr",
    title="LoKr",
    family="low-rank",
    paper=Paper(
        title="KronA: Parameter Efficient Tuning with Kronecker Adapter",
        year=2022, address="https://arxiv.org/abs/2212.10650",
    ),
    summary="Adds a Kronecker product: more rank per parameter than LoRA.",
    capabilities=_injected.capable(),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-4, 5e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 8, "alpha": 16, "decompose_factor": 4}, learning_rate=3e-3,
            source="alpha, factor and rate of peft method_comparison MetaMathQA,"
            " lokr/llama-3.2-3B-rank32-factor4-lr0.003: 0.466 on GSM8K; rank smaller for smaller models",
        ),
        Seed(
            parameters={"rank": 32, "alpha": 64, "decompose_factor": 4}, learning_rate=3e-3, targets="qv",
            source="peft method_comparison MetaMathQA, lokr/llama-3.2-3B-rank32-factor4-lr0.003: 0.466 on GSM8K",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    limits=_limits,
    memory_factor=1.5,
)  # fmt: skip
