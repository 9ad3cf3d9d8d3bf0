"""PVeRA: VeRA with a learned spread around its inner activations, which it samples while training."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# The projections are random and frozen, so a rank above a layer's width is still of use.
LEGAL: dict[str, "BaseDistribution"] = {
    "rank": IntDistribution(1, 4096, log=True),
    "d_initial": FloatDistribution(1e-8, 1.0, log=True),
    "dropout": FloatDistribution(0.0, 0.9),
}


def _trainable(setup: Setup) -> int:
    """A mean and a spread per rank, and one value per output."""
    rank = _injected.number(setup, "rank")
    return _injected.total(setup, lambda module: 2 * rank + module.out_features)


def _held(setup: Setup) -> int:
    """Both shared projections, the first of means and spreads, float32."""
    inputs, outputs = _injected.widest(setup)
    return 4 * _injected.number(setup, "rank") * (2 * inputs + outputs)


def _config(setup: Setup) -> Any:
    from peft import PveraConfig

    given = setup.candidate.parameters
    return PveraConfig(
        r=given["rank"], d_initial=given["d_initial"], pvera_dropout=given["dropout"],
        fan_in_fan_out=_peft.transposed(setup), **_peft.injected(setup),
    )  # fmt: skip


def _effective(attached: Any) -> dict[str, ParameterValue]:
    """Reads `d_initial` off the vectors: true right after `apply`, before they are trained."""
    from peft.tuners.pvera import PveraLayer

    name = _peft.ADAPTER
    return _injected.read(
        attached, PveraLayer, rank=lambda layer: int(layer.pvera_lambda_d[name].shape[0] // 2),
        d_initial=lambda layer: float(f"{layer.pvera_lambda_d[name].mean().item():.6g}"),
        dropout=lambda layer: _peft.dropout_of(layer.pvera_dropout[name]),
    )  # fmt: skip


METHOD = _injected.declare(
    name="pvera",
    title="PVeRA",
    family="low-rank",
    paper=Paper(
        title="PVeRA: Probabilistic Vector-Based Random Matrix Adaptation",
        year=2025, address="https://arxiv.org/abs/2512.07703",
    ),
    summary="VeRA that learns how uncertain it is: as few parameters, and noise in training that regularises.",
    capabilities=_injected.capable(quantized_base=True),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-4, 1e-1, log=True),
    seeds=(
        Seed(
            parameters={"rank": 64, "d_initial": 0.1, "dropout": 0.0}, learning_rate=3e-3, targets="qv",
            source="peft method_comparison MetaMathQA, pvera/llama-3.2-3B-rank64: 0.356 on GSM8K",
        ),
        Seed(
            parameters={"rank": 256, "d_initial": 0.1, "dropout": 0.0}, learning_rate=3e-3,
            source="peft method_comparison MetaMathQA, pvera/llama-3.2-3B-default: 0.353 on GSM8K; here on all layers",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    held=_held,
    memory_factor=1.5,
)  # fmt: skip
