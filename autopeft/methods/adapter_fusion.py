"""AdapterFusion, in a form for one task and one training run: several adapters, fused by attention.

The paper trains N adapters on N tasks, freezes them, and then learns to fuse them on a target task. With one task
there is nothing to take over, so here the N adapters and the attention over them train together, from N different
random starts: a mixture of bottlenecks whose shares depend on the position. The attention is the paper's, after the
feed-forward of each layer: with h the feed-forward's output and uₙ what adapter n adds to it,

    w = softmaxₙ((Q h) · (K uₙ)),   h ← h + Σₙ wₙ V uₙ.

The paper takes keys and values of h + uₙ. In the keys h drops out of the softmax, so they are the same; in the values
the forms differ by (V − I) h, and V starts as the identity and is drawn towards it in the paper: here it starts so and
is free to move (``value`` trained), or stays (identity, without its width² weights). Q and K have ``attention`` rows;
the paper's have as many as the model is wide. The adapters' up-projections start at zero, so the start is the base.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from autopeft.methods import _adapters, _hooks, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue, Role
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ROLES: tuple[Role, ...] = ("down",)
LEGAL: dict[str, "BaseDistribution"] = {
    "adapters": IntDistribution(2, 32),
    **_adapters.LEGAL,
    "attention": IntDistribution(1, 16384, log=True),
    "value": CategoricalDistribution(("identity", "trained")),
}


def _trainable(setup: Setup) -> int:
    given = setup.candidate.parameters
    adapters = int(given["adapters"]) * _adapters.trainable(setup, ROLES)
    widths = [module.out_features for module in _adapters.places(setup, ROLES)]
    values = sum(width**2 for width in widths) if given["value"] == "trained" else 0
    return adapters + 2 * int(given["attention"]) * sum(widths) + values


def _build(setup: Setup, where: tuple[ModuleShape, ...]) -> list[Any]:
    from autopeft.methods._fusion import Fusion

    given = setup.candidate.parameters
    count, attention, trained = int(given["adapters"]), int(given["attention"]), given["value"] == "trained"
    return [
        Fusion(shape.out_features, _adapters.bottlenecks(setup, (shape,) * count), attention, trained_value=trained)
        for shape in where
    ]


def _effective(model: Any) -> dict[str, ParameterValue]:
    found = _hooks.children(model)
    values = [any(True for _ in m.value.parameters()) for m in found]
    return {
        "adapters": _peft.shared("adapters", [len(m.adapters) for m in found]),
        **_adapters.effective(model),
        "attention": _peft.shared("attention", [m.query.out_features for m in found]),
        "value": _peft.shared("value", ["trained" if trained else "identity" for trained in values]),
    }


METHOD = _adapters.declare(
    name="adapter_fusion",
    title="AdapterFusion",
    paper=Paper(
        title="AdapterFusion: Non-Destructive Task Composition for Transfer Learning", year=2020,
        address="https://arxiv.org/abs/2005.00247",
    ),
    summary="Several bottlenecks after the feed-forward, fused by attention; all of it trains in one run.",
    legal=LEGAL,
    roles=ROLES,
    learning_rate=FloatDistribution(1e-6, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"adapters": 4, "bottleneck": 16, "activation": "relu", "dropout": 0.0, "attention": 64,
                        "value": "identity"},
            learning_rate=5e-3, targets="none",
            source="measured here: 50 steps of 16 movie reviews on MiniLM, where 1e-3 learns nothing; sizes are this"
            " project's, small because all train at once",
        ),
        Seed(
            parameters={"adapters": 3, "bottleneck": 48, "activation": "relu", "dropout": 0.0, "attention": 768,
                        "value": "trained"},
            learning_rate=5e-5, targets="none",
            source="Pfeiffer et al., arXiv 2005.00247: fusion as wide as a model of 768, with a value matrix, at 5e-5,"
            " for whole epochs",
        ),
    ),
    trainable=_trainable,
    attach=partial(_adapters.stand, roles=ROLES, build=_build),
    effective=_effective,
    memory_factor=1.0,
)  # fmt: skip
