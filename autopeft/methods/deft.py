"""DEFT: takes a low-rank subspace out of each weight's output and puts a learned map in its place."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {
    "rank": IntDistribution(1, 1024, log=True),
    "alpha": IntDistribution(1, 4096, log=True),
    "dropout": FloatDistribution(0.0, 0.9),
    "projection": CategoricalDistribution(("relu", "qr")),
}


def _config(setup: Setup) -> Any:
    from peft import DeftConfig

    given = setup.candidate.parameters
    return DeftConfig(
        r=given["rank"], alpha=given["alpha"], deft_dropout=given["dropout"],
        decomposition_method=given["projection"], fan_in_fan_out=_peft.transposed(setup), **_peft.injected(setup),
    )  # fmt: skip


def _rank(layer: Any) -> int:
    return int(layer.deft_P[_peft.ADAPTER].shape[1])


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.deft.layer import DeftLayer

    name = _peft.ADAPTER
    return _injected.read(
        attached, DeftLayer, rank=_rank, alpha=lambda layer: round(float(layer.deft_scaling[name] * _rank(layer)), 6),
        dropout=lambda layer: _peft.dropout_of(layer.deft_dropout[name]),
        projection=lambda layer: str(layer.deft_decomposition[name]),
    )  # fmt: skip


METHOD = _injected.declare(
    name="deft",
    title="DEFT",
    family="low-rank",
    paper=Paper(
        title="DEFT: Decompositional Efficient Fine-Tuning for Text-to-Image Models", year=2025,
        address="https://proceedings.neurips.cc/paper_files/paper/2025/hash/"
        "93a34a7138bdad95e874018d5f491cc6-Abstract-Conference.html",
    ),
    summary="Replaces a low-rank part of each weight by a learned one: LoRA's parameters, less forgetting claimed.",
    capabilities=_injected.capable(),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 32, "alpha": 128, "dropout": 0.0, "projection": "relu"}, learning_rate=1e-4,
            targets="qv",
            source="peft method_comparison MetaMathQA, deft/llama-3.2-3B-rank32: 0.482 on GSM8K, against LoRA's 0.478",
        ),
        Seed(
            parameters={"rank": 8, "alpha": 32, "dropout": 0.0, "projection": "relu"}, learning_rate=3e-4,
            source="the row above at a smaller rank, its rate raised for short runs; not measured",
        ),
    ),
    trainable=_injected.factors,
    config=_config,
    effective=_effective,
    limits=_injected.rank_limits,
    memory_factor=2.0,
)  # fmt: skip
