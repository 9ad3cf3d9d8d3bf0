"""Super-Tuning: trains the largest entries of each weight, with a low-rank update beside them where wanted."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._legal import rank_violations
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {
    "sparsity": FloatDistribution(0.0, 0.99999),
    "rank": IntDistribution(0, 1024),
}


def _entries(weight_entries: int, sparsity: float) -> int:
    # In peft's own order of operations, so that rounding agrees.
    return int(weight_entries * (1 - sparsity))


def _trainable(setup: Setup) -> int:
    """The entries that sparsity leaves, and LoRA's factors of the rank."""
    sparsity = float(setup.candidate.parameters["sparsity"])

    def entries(module: ModuleShape) -> int:
        return _entries(module.in_features * module.out_features, sparsity)

    return _injected.total(setup, entries) + _injected.factors(setup)


def _limits(setup: Setup) -> tuple[str, ...]:
    sparsity = float(setup.candidate.parameters["sparsity"])

    def none_left(module: ModuleShape) -> str:
        if _entries(module.in_features * module.out_features, sparsity):
            return ""
        return f"`sparsity` {sparsity} leaves no entry of {module.name} to train."

    rank = rank_violations(setup, _injected.number(setup, "rank"))
    return (*_injected.plain_limits(setup), *_injected.first(setup, none_left), *rank)


def _config(setup: Setup) -> Any:
    """With a rank, peft sets alpha to twice the rank."""
    from peft import SupertuningConfig

    given = setup.candidate.parameters
    return SupertuningConfig(sparsity=given["sparsity"], r=given["rank"] or None, **_peft.injected(setup))


def _held(setup: Setup) -> int:
    """The place of each entry, a whole number of four bytes."""
    sparsity = float(setup.candidate.parameters["sparsity"])
    return _injected.total(setup, lambda module: 4 * _entries(module.in_features * module.out_features, sparsity))


def _effective(attached: Any) -> dict[str, ParameterValue]:
    """Returns the sparsity asked for where it explains every layer's count, else what a layer has."""
    from peft.tuners.supertuning import SupertuningLayer

    name, asked = _peft.ADAPTER, float(attached.peft_config[_peft.ADAPTER].sparsity)

    def sparsity(layer: Any) -> float:
        entries, trained = layer.get_base_layer().weight.numel(), layer.supertuning_values[name].numel()
        return asked if trained == _entries(entries, asked) else 1 - trained / entries

    return _injected.read(
        attached, SupertuningLayer, sparsity=sparsity, rank=lambda layer: int(layer.supertuning_rank[name])
    )


METHOD = _injected.declare(
    name="supertuning",
    title="Super-Tuning",
    family="selective",
    paper=Paper(title="Super-Tuning", year=2026, address="https://arxiv.org/abs/2607.09287"),
    summary="Trains the largest entries of each targeted weight, alone or beside a low-rank update.",
    capabilities=_injected.capable(),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"sparsity": 0.974, "rank": 0}, learning_rate=3e-4, targets="qv",
            source="sparsity of peft method_comparison MetaMathQA, supertuning/llama-3.2-3B-s974-topk, whose result is"
            " not published; the rate is that of the measured sparse sibling with as many parameters",
        ),
        Seed(
            parameters={"sparsity": 0.99, "rank": 8}, learning_rate=5e-4,
            source="sizes of peft method_comparison MetaMathQA, supertuning/llama-3.2-3B-s99-supra-r8, whose result is"
            " not published; the rate is set here and not measured",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    held=_held,
    limits=_limits,
)  # fmt: skip
