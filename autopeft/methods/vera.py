"""VeRA: frozen random projections shared by all layers, with two learned vectors each."""

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
    """One value per rank and one per output feature in each targeted module."""
    rank = _injected.number(setup, "rank")
    return _injected.total(setup, lambda module: rank + module.out_features)


def _held(setup: Setup) -> int:
    """Both shared projections, float32."""
    inputs, outputs = _injected.widest(setup)
    return 4 * _injected.number(setup, "rank") * (inputs + outputs)


def _config(setup: Setup) -> Any:
    from peft import VeraConfig

    given = setup.candidate.parameters
    return VeraConfig(
        r=given["rank"], d_initial=given["d_initial"], vera_dropout=given["dropout"],
        fan_in_fan_out=_peft.transposed(setup), **_peft.injected(setup),
    )  # fmt: skip


def _effective(attached: Any) -> dict[str, ParameterValue]:
    """Reads `d_initial` off the vectors: true right after `apply`, before they are trained."""
    from peft.tuners.vera import VeraLayer

    layers = _peft.layers(attached, VeraLayer)
    scales = [layer.vera_lambda_d[_peft.ADAPTER] for layer in layers]
    return {
        "rank": _peft.shared("rank", [int(scale.shape[0]) for scale in scales]),
        "d_initial": _peft.shared("d_initial", [float(f"{scale.mean().item():.6g}") for scale in scales]),
        "dropout": _peft.shared("dropout", [_peft.dropout_of(x.vera_dropout[_peft.ADAPTER]) for x in layers]),
    }


METHOD = _injected.declare(
    name="vera",
    title="VeRA",
    family="low-rank",
    paper=Paper(
        title="VeRA: Vector-based Random Matrix Adaptation", year=2023, address="https://arxiv.org/abs/2310.11454"
    ),
    summary="Scales frozen random projections, shared by all layers, with two small vectors per layer.",
    capabilities=_injected.capable(quantized_base=True),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-4, 1e-1, log=True),
    seeds=(
        Seed(
            parameters={"rank": 256, "d_initial": 0.1, "dropout": 0.0}, learning_rate=4e-3,
            source="Kopiczko et al., arXiv 2310.11454: rank 256 to 1024, rates about ten times LoRA's",
        ),
        Seed(
            parameters={"rank": 256, "d_initial": 0.1, "dropout": 0.0}, learning_rate=1e-3, targets="qv",
            source="peft method_comparison MetaMathQA, vera/llama-3.2-3B-default: 0.354 on GSM8K",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    held=_held,
)  # fmt: skip
