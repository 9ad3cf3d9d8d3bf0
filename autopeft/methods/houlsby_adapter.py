"""Houlsby's adapters: two bottlenecks a layer, after attention and after the feed-forward."""

from optuna.distributions import FloatDistribution

from autopeft.methods import _adapters
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.names import Role

ROLES: tuple[Role, ...] = ("output", "down")

METHOD = _adapters.declare(
    name="houlsby_adapter",
    title="Houlsby adapter",
    paper=Paper(title="Parameter-Efficient Transfer Learning for NLP", year=2019, address="https://arxiv.org/abs/1902.00751"),
    summary="A small bottleneck after attention and one after the feed-forward of each layer; costs some latency.",
    roles=ROLES,
    learning_rate=FloatDistribution(1e-5, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"bottleneck": 64, "activation": "gelu", "dropout": 0.0}, learning_rate=3e-4, targets="none",
            source="Houlsby et al., arXiv 1902.00751, section 3: sizes 8 to 256, learning rates 3e-5 to 3e-3 on GLUE",
        ),
        Seed(
            parameters={"bottleneck": 8, "activation": "gelu", "dropout": 0.0}, learning_rate=3e-3, targets="none",
            source="Houlsby et al., arXiv 1902.00751, section 3: the smallest size and the highest rate tried",
        ),
    ),
    memory_factor=0.5,
)  # fmt: skip
