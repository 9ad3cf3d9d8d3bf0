"""HiRA: LoRA's product multiplied into each weight elementwise, which makes the update of high rank."""

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
    "dropout": FloatDistribution(0.0, 0.9),
}


def _config(setup: Setup) -> Any:
    from peft import HiraConfig

    given = setup.candidate.parameters
    transposed = _peft.transposed(setup)
    return HiraConfig(
        r=given["rank"], hira_dropout=given["dropout"], fan_in_fan_out=transposed, **_peft.injected(setup)
    )


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.hira import HiraLayer

    return _injected.read(
        attached, HiraLayer, rank=lambda layer: int(layer.hira_A[_peft.ADAPTER].shape[0]),
        dropout=lambda layer: _peft.dropout_of(layer.hira_dropout[_peft.ADAPTER]),
    )  # fmt: skip


METHOD = _injected.declare(
    name="hira",
    title="HiRA",
    family="low-rank",
    paper=Paper(
        title="HiRA: Parameter-Efficient Hadamard High-Rank Adaptation for Large Language Models",
        year=2025, address="https://openreview.net/forum?id=TwJrTz9cRS",
    ),
    summary="Scales each entry of the weights by a low-rank product: high rank at LoRA's cost, at higher rates.",
    capabilities=_injected.capable(quantized_base=True),
    legal=LEGAL,
    # The update is in units of the weights, which are small, so rates are far above LoRA's.
    learning_rate=FloatDistribution(1e-4, 1e-1, log=True),
    seeds=(
        Seed(
            parameters={"rank": 32, "dropout": 0.0}, learning_rate=4.5e-3, targets="qv",
            source="peft method_comparison MetaMathQA, hira/llama-3.2-3B-rank32-lr4.5e-3: 0.513 on GSM8K,"
            " against LoRA's 0.478 at that rank",
        ),
        Seed(
            parameters={"rank": 8, "dropout": 0.0}, learning_rate=4.5e-3,
            source="the rate of the row above, at the rank that small models take; not measured",
        ),
    ),
    trainable=_injected.factors,
    config=_config,
    effective=_effective,
    limits=_injected.rank_limits,
    memory_factor=2.0,
)  # fmt: skip
