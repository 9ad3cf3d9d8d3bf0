"""Uni-LoRA: all entries of all LoRA factors drawn from one short trained vector."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {
    "rank": IntDistribution(1, 1024, log=True),
    "length": IntDistribution(1, 10_000_000, log=True),
    "dropout": FloatDistribution(0.0, 0.9),
}


def _trainable(setup: Setup) -> int:
    """The vector, however many modules read it."""
    return _injected.number(setup, "length")


def _limits(setup: Setup) -> tuple[str, ...]:
    length, entries = _injected.number(setup, "length"), _injected.factors(setup)
    unread = (f"`length` is {length}, but the factors have only {entries} entries to read it.",)
    return (*(unread if length > entries else ()), *_injected.rank_limits(setup))


def _config(setup: Setup) -> Any:
    from peft import UniLoraConfig

    given = setup.candidate.parameters
    return UniLoraConfig(
        r=given["rank"], theta_d_length=given["length"], unilora_dropout=given["dropout"],
        fan_in_fan_out=_peft.transposed(setup), **_peft.injected(setup),
    )  # fmt: skip


def _held(setup: Setup) -> int:
    """For each entry of both factors its place in the vector, in eight bytes, and a scale of float32."""
    return 12 * _injected.factors(setup)


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.unilora.layer import UniLoraLayer

    name = _peft.ADAPTER
    return _injected.read(
        attached, UniLoraLayer, rank=lambda layer: int(layer.unilora_indices_A[name].shape[0]),
        length=lambda layer: int(layer.unilora_theta_d[name].shape[0]),
        dropout=lambda layer: _peft.dropout_of(layer.unilora_dropout[name]),
    )  # fmt: skip


METHOD = _injected.declare(
    name="unilora",
    title="Uni-LoRA",
    family="low-rank",
    paper=Paper(
        title="Uni-LoRA: One Vector Is All You Need", year=2025, address="https://arxiv.org/abs/2506.00799"
    ),
    summary="Projects one trained vector to the factors of all layers: the parameters are what you say they are.",
    # peft keeps the projection's scales in the dtype of the weights, where those of quantized ones all become 0.
    capabilities=_injected.capable(identity_at_start=False, shardable=False),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-4, 1e-1, log=True),
    seeds=(
        Seed(
            parameters={"rank": 4, "length": 16384, "dropout": 0.0}, learning_rate=5e-3,
            source="a vector and a rate well above peft method_comparison MetaMathQA, unilora/llama-3.2-3B-default,"
            " whose 256 values reach 0.002 on GSM8K at 1e-4; not measured",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    held=_held,
    limits=_limits,
)  # fmt: skip
