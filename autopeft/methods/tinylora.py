"""TinyLoRA: a handful of coefficients of fixed random matrices between each weight's main singular directions."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {
    "rank": IntDistribution(1, 256, log=True),
    "coefficients": IntDistribution(1, 4096, log=True),
    "tying": FloatDistribution(0.0, 1.0),
    "dropout": FloatDistribution(0.0, 0.9),
}


def _vectors(modules: int, tying: float) -> int:
    """Returns how many vectors of coefficients the modules have among them, grouped as peft does in their order."""
    groups = max(1, round(modules * (1.0 - tying)))
    size = max(1, modules // groups)
    return min(groups, -(-modules // size))


def _trainable(setup: Setup) -> int:
    tying = float(setup.candidate.parameters["tying"])
    return _injected.number(setup, "coefficients") * _vectors(len(target_modules(setup)), tying)


def _config(setup: Setup) -> Any:
    from peft import TinyLoraConfig

    given = setup.candidate.parameters
    return TinyLoraConfig(
        r=given["rank"], u=given["coefficients"], weight_tying=given["tying"], tinylora_dropout=given["dropout"],
        fan_in_fan_out=_peft.transposed(setup), **_peft.injected(setup),
    )  # fmt: skip


def _held(setup: Setup) -> int:
    """Each weight's first singular directions, and what turns coefficients into a square of the rank, float32."""
    rank, coefficients = _injected.number(setup, "rank"), _injected.number(setup, "coefficients")
    return 4 * (_injected.factors(setup) + len(target_modules(setup)) * coefficients * rank**2)


def _effective(attached: Any) -> dict[str, ParameterValue]:
    """Returns the tying asked for where it explains the number of vectors, else the share of them saved."""
    from peft.tuners.tinylora.layer import TinyLoraLayer

    name, layers = _peft.ADAPTER, _peft.layers(attached, TinyLoraLayer)
    vectors, asked = attached.base_model.tinylora_v[name], float(attached.peft_config[name].weight_tying)
    explained = len(vectors) == _vectors(len(layers), asked)
    return {
        "rank": _peft.shared("rank", [int(layer.tinylora_A[name].shape[0]) for layer in layers]),
        "coefficients": _peft.shared("coefficients", [int(vector.shape[0]) for vector in vectors.values()]),
        "tying": asked if explained else 1 - len(vectors) / len(layers),
        "dropout": _peft.shared("dropout", [_peft.dropout_of(layer.tinylora_dropout[name]) for layer in layers]),
    }


METHOD = _injected.declare(
    name="tinylora",
    title="TinyLoRA",
    family="low-rank",
    paper=Paper(title="Learning to Reason in 13 Parameters", year=2026, address="https://arxiv.org/abs/2602.04118"),
    summary="Trains from a few to a few thousand numbers in all; made for reinforcement learning, weak otherwise.",
    capabilities=_injected.capable(shardable=False),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-4, 1.0, log=True),
    seeds=(
        Seed(
            parameters={"rank": 2, "coefficients": 64, "tying": 0.0, "dropout": 0.0}, learning_rate=1e-2,
            source="sizes of peft method_comparison MetaMathQA, tinylora/llama-3.2-3B-default: 0.012 on GSM8K at 1e-3;"
            " the rate is raised tenfold and not measured",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    held=_held,
    limits=_injected.rank_limits,
)  # fmt: skip
