"""What the variants of low-rank adaptation share: domains, the config, and reading the injected layers."""

from math import sqrt
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _peft
from autopeft.methods._legal import rank_violations
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {
    "rank": IntDistribution(1, 1024, log=True),
    "alpha": IntDistribution(1, 4096, log=True),
    "dropout": FloatDistribution(0.0, 0.9),
}


def config(setup: Setup, **variant: bool | str) -> Any:
    """Returns peft's config of a variant: ``use_rslora``, ``use_dora`` or ``init_lora_weights``, or plain."""
    from peft import LoraConfig

    given = setup.candidate.parameters
    return LoraConfig(
        r=given["rank"], lora_alpha=given["alpha"], lora_dropout=given["dropout"],
        fan_in_fan_out=_peft.transposed(setup), **_peft.injected(setup), **variant,
    )  # fmt: skip


def parameters(setup: Setup) -> int:
    """Returns the parameters of both factors over the targeted modules: rank × (in + out) each."""
    rank = int(setup.candidate.parameters["rank"])
    return sum(rank * (module.in_features + module.out_features) for module in target_modules(setup))


def too_large(setup: Setup) -> tuple[str, ...]:
    """Returns why the rank exceeds what a targeted module can hold."""
    return rank_violations(setup, setup.candidate.parameters.get("rank", 1))


def effective(attached: Any) -> dict[str, ParameterValue]:
    """Returns rank, alpha and dropout read from the injected layers; alpha is what their scaling amounts to."""
    from peft.tuners.lora import LoraLayer

    layers = _peft.layers(attached, LoraLayer)
    return {
        "rank": _peft.shared("rank", [_rank(layer) for layer in layers]),
        "alpha": _peft.shared("alpha", [_alpha(layer) for layer in layers]),
        "dropout": _peft.shared("dropout", [_peft.dropout_of(x.lora_dropout[_peft.ADAPTER]) for x in layers]),
    }


def _rank(layer: Any) -> int:
    return int(layer.lora_A[_peft.ADAPTER].weight.shape[0])


def _alpha(layer: Any) -> float:
    rank = _rank(layer)
    unit = sqrt(rank) if layer.use_rslora.get(_peft.ADAPTER) else rank
    return round(float(layer.scaling[_peft.ADAPTER] * unit), 6)
