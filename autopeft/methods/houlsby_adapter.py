"""Houlsby's adapters: two bottlenecks a layer, after attention and after the feed-forward."""

from functools import partial

from optuna.distributions import FloatDistribution

from autopeft.methods import _adapters, _native
from autopeft.methods._declaration import Method, Paper, Seed
from autopeft.values.names import Role

ROLES: tuple[Role, ...] = ("output", "down")

METHOD = Method(
    name="houlsby_adapter",
    title="Houlsby adapter",
    family="adapter",
    paper=Paper(title="Parameter-Efficient Transfer Learning for NLP", year=2019, address="https://arxiv.org/abs/1902.00751"),
    summary="A small bottleneck after attention and one after the feed-forward of each layer; costs some latency.",
    capabilities=_adapters.CAPABILITIES,
    legal=_adapters.LEGAL,
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
    trainable=partial(_adapters.trainable, roles=ROLES),
    violations=partial(_adapters.violations, roles=ROLES),
    apply=partial(_adapters.apply, roles=ROLES),
    peft_config=_native.no_peft_config,
    effective=_adapters.effective,
    detach=_native.detach,
    merge=None,
    save=_native.save,
    load=partial(_adapters.load, roles=ROLES),
    memory_factor=0.5,
)  # fmt: skip
