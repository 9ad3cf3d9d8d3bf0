"""AdaMSS: each weight's rows grouped into subspaces, with a rank-one update in each."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {
    "rank": IntDistribution(1, 1024, log=True),
    "subspaces": IntDistribution(1, 256, log=True),
}


def _trainable(setup: Setup) -> int:
    """A direction in the weight's main subspace for each group of rows, and one value per row.

    Groups follow from a clustering of the weights; with one direction each, the count does not depend on it.
    """
    rank, subspaces = _injected.number(setup, "rank"), _injected.number(setup, "subspaces")
    return _injected.total(setup, lambda module: subspaces * rank + module.out_features)


def _held(setup: Setup) -> int:
    """The weight's main subspace, float32 with a column for a bias, and where each group's outputs belong."""
    rank = _injected.number(setup, "rank")
    return _injected.total(
        setup, lambda module: 4 * rank * (module.in_features + module.bias) + 8 * module.out_features
    )


def _limits(setup: Setup) -> tuple[str, ...]:
    subspaces = _injected.number(setup, "subspaces")

    def too_many(module: ModuleShape) -> str:
        if subspaces <= module.out_features:
            return ""
        return f"`subspaces` is {subspaces}, above the {module.out_features} outputs of {module.name}."

    return (*_injected.plain_limits(setup), *_injected.rank_limits(setup), *_injected.first(setup, too_many))


def _config(setup: Setup) -> Any:
    from peft import AdamssConfig

    given = setup.candidate.parameters
    return AdamssConfig(r=given["rank"], num_subspaces=given["subspaces"], subspace_rank=1, **_peft.injected(setup))


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.adamss.layer import AdamssLayer

    name = _peft.ADAPTER
    return _injected.read(
        attached, AdamssLayer, rank=lambda layer: int(layer.adamss_newB[name].shape[0]),
        subspaces=lambda layer: len(layer.adamss_A[name]),
    )  # fmt: skip


METHOD = _injected.declare(
    name="adamss",
    title="AdaMSS",
    family="low-rank",
    paper=Paper(
        title="AdaMSS: Adaptive Multi-Subspace Approach for Parameter-Efficient Fine-Tuning",
        year=2025, address="https://openreview.net/forum?id=8ZdWmpYxT0",
    ),
    summary="Clusters each weight's outputs and gives every cluster an update of rank one: few parameters, slow steps.",
    capabilities=_injected.capable(),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-4, 5e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 100, "subspaces": 5}, learning_rate=1e-3,
            source="the paper's rates on GLUE, 5e-4 to 1e-2, most of them 1e-3, as peft's example lists them; peft's"
            " defaults for the sizes",
        ),
        Seed(
            parameters={"rank": 32, "subspaces": 5}, learning_rate=5e-3,
            source="the same for models of a few hundred features and short runs; not measured",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    limits=_limits,
    held=_held,
    traceable=False,  # the clusters of the weights decide what is made
    memory_factor=1.5,
)  # fmt: skip
