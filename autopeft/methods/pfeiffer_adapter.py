"""Pfeiffer's adapters: one bottleneck a layer, after the feed-forward."""

from optuna.distributions import FloatDistribution

from autopeft.methods import _adapters
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.names import Role

ROLES: tuple[Role, ...] = ("down",)

METHOD = _adapters.declare(
    name="pfeiffer_adapter",
    title="Pfeiffer adapter",
    paper=Paper(title="AdapterFusion: Non-Destructive Task Composition for Transfer Learning", year=2020, address="https://arxiv.org/abs/2005.00247"),
    summary="A small bottleneck after the feed-forward of each layer: half of Houlsby's cost.",
    roles=ROLES,
    learning_rate=FloatDistribution(1e-5, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"bottleneck": 48, "activation": "relu", "dropout": 0.0}, learning_rate=1e-4, targets="none",
            source="Pfeiffer et al., arXiv 2005.00247: a sixteenth of a width of 768, learning rate 1e-4",
        ),
        Seed(
            parameters={"bottleneck": 64, "activation": "relu", "dropout": 0.0}, learning_rate=1e-3, targets="none",
            source="between the rates 3e-4 and 3e-3 that Houlsby et al., arXiv 1902.00751, tried",
        ),
    ),
    memory_factor=0.3,
)  # fmt: skip
