"""LoHa: the elementwise product of two low-rank products, a high-rank update from few parameters."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _lycoris, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {
    "rank": IntDistribution(1, 1024, log=True),
    "alpha": IntDistribution(1, 4096, log=True),
}


def _trainable(setup: Setup) -> int:
    """Two pairs of LoRA's factors: 2 × rank × (in + out) per module."""
    return 2 * _injected.factors(setup)


def _limits(setup: Setup) -> tuple[str, ...]:
    return (*_injected.rank_limits(setup), *_injected.plain_limits(setup))


def _config(setup: Setup) -> Any:
    from peft import LoHaConfig

    given = setup.candidate.parameters
    return LoHaConfig(r=given["rank"], alpha=given["alpha"], **_peft.injected(setup))


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.loha.layer import LoHaLayer

    layers = _peft.layers(attached, LoHaLayer)
    ranks = [int(layer.hada_w1_b[_peft.ADAPTER].shape[0]) for layer in layers]
    return {"rank": _peft.shared("rank", list(ranks)), "alpha": _lycoris.alpha(layers, ranks)}


METHOD = _injected.declare(
    name="loha",
    title="LoHa",
    family="low-rank",
    paper=Paper(
        title="FedPara: Low-Rank Hadamard Product for Communication-Efficient Federated Learning",
        year=2021, address="https://arxiv.org/abs/2108.06098",
    ),
    summary="Adds the elementwise product of two low-rank products: rank up to the square, at twice LoRA's parameters.",
    capabilities=_injected.capable(),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 8, "alpha": 16}, learning_rate=1e-3,
            source="half of the rank and ten times the rate of peft method_comparison MetaMathQA,"
            " loha/llama-3.2-3B-rank32 at 1e-4: 0.393 on GSM8K, behind LoRA's 0.478 at that rate",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    limits=_limits,
    memory_factor=1.5,
)  # fmt: skip
