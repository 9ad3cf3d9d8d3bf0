"""VeRA: frozen random projections shared by all layers, with two learned vectors each."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _peft
from autopeft.methods._declaration import Capabilities, Method, Paper, Seed
from autopeft.methods._legal import declared_violations, refuse
from autopeft.methods._targets import target_modules
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
CAPABILITIES = Capabilities(
    tasks=_peft.ALL_TASKS, models=_peft.ALL_KINDS, quantized_base=True, mergeable=True, identity_at_start=True,
    adds_latency=False, changes_base=False, takes_targets=True, takes_layers=True,
)  # fmt: skip


def _trainable(setup: Setup) -> int:
    """One value per rank and one per output feature in each targeted module."""
    rank = int(setup.candidate.parameters["rank"])
    return sum(rank + module.out_features for module in target_modules(setup))


def _violations(setup: Setup) -> tuple[str, ...]:
    return declared_violations(setup, CAPABILITIES, LEGAL)


def _config(setup: Setup) -> Any:
    from peft import VeraConfig

    given = setup.candidate.parameters
    return VeraConfig(
        r=given["rank"], d_initial=given["d_initial"], vera_dropout=given["dropout"],
        fan_in_fan_out=_peft.transposed(setup), **_peft.injected(setup),
    )  # fmt: skip


def _apply(model: Any, setup: Setup) -> Any:
    refuse(setup, _violations)
    return _peft.attach(model, _config(setup))


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


def _load(model: Any, setup: Setup, folder: Path) -> Any:
    return _peft.load_into(_apply(model, setup), folder)


METHOD = Method(
    name="vera",
    title="VeRA",
    family="low-rank",
    paper=Paper(
        title="VeRA: Vector-based Random Matrix Adaptation", year=2023, address="https://arxiv.org/abs/2310.11454"
    ),
    summary="Scales frozen random projections, shared by all layers, with two small vectors per layer.",
    capabilities=CAPABILITIES,
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
    violations=_violations,
    apply=_apply,
    peft_config=_config,
    effective=_effective,
    detach=_peft.detach,
    merge=_peft.merge,
    save=_peft.save,
    load=_load,
)  # fmt: skip
