"""PEANuT: a small network that reads each weight and writes its update."""

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
    "depth": IntDistribution(0, 16),
    "activation": CategoricalDistribution(("relu", "gelu", "silu")),
    "scaling": FloatDistribution(0.01, 100.0, log=True),
}


def _trainable(setup: Setup) -> int:
    """In and out of the network at the width of the outputs, and two square layers per depth."""
    rank, depth = _injected.number(setup, "rank"), _injected.number(setup, "depth")
    return _injected.total(setup, lambda module: 2 * rank * module.out_features + 2 * depth * rank * rank)


def _limits(setup: Setup) -> tuple[str, ...]:
    return (*_injected.plain_limits(setup), *_injected.rank_limits(setup))


def _config(setup: Setup) -> Any:
    from peft import PeanutConfig

    given = setup.candidate.parameters
    return PeanutConfig(
        r=given["rank"], depth=given["depth"], act_fn=given["activation"], scaling=given["scaling"],
        **_peft.injected(setup),
    )  # fmt: skip


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.peanut.layer import PeanutLayer

    name = _peft.ADAPTER
    return _injected.read(
        attached, PeanutLayer, rank=lambda layer: int(layer.peanut_A[name].weight.shape[0]),
        depth=lambda layer: len(layer.peanut_encoders[name]), activation=lambda layer: str(layer.act_fn[name]),
        scaling=lambda layer: float(layer.scaling[name]),
    )  # fmt: skip


METHOD = _injected.declare(
    name="peanut",
    title="PEANuT",
    family="low-rank",
    paper=Paper(
        title="PEANuT: Parameter-Efficient Adaptation with Weight-aware Neural Tweakers",
        year=2024, address="https://arxiv.org/abs/2410.01870",
    ),
    summary="Computes each update from the weight itself by a small network: expressive, at more memory and time.",
    capabilities=_injected.capable(),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 32, "depth": 0, "activation": "relu", "scaling": 2.0}, learning_rate=1e-4, targets="qv",
            source="peft method_comparison MetaMathQA, peanut/llama-3.2-3B-rank32-relu-depth0-s2.0: 0.449 on GSM8K",
        ),
        Seed(
            parameters={"rank": 8, "depth": 0, "activation": "relu", "scaling": 2.0}, learning_rate=1e-3,
            source="the row above at a smaller rank, its rate raised for short runs; not measured",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    limits=_limits,
    memory_factor=3.0,
)  # fmt: skip
