"""SHiRA: a sparse update of each weight: a random few of its entries train, at any rank."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {"rank": IntDistribution(1, 1024, log=True)}


def _limits(setup: Setup) -> tuple[str, ...]:
    """A weight must have as many entries as a LoRA of this rank has parameters."""
    rank = _injected.number(setup, "rank")

    def too_many(module: ModuleShape) -> str:
        entries, wanted = module.in_features * module.out_features, rank * (module.in_features + module.out_features)
        if wanted <= entries:
            return ""
        return f"`rank` {rank} asks for {wanted} entries of {module.name}, whose weight has {entries}."

    return (*_injected.plain_limits(setup), *_injected.first(setup, too_many))


def _config(setup: Setup) -> Any:
    from peft import ShiraConfig

    return ShiraConfig(r=setup.candidate.parameters["rank"], **_peft.injected(setup))


@contextmanager
def _drawn() -> Iterator[None]:
    """Draws each weight's entries from torch's own random numbers: peft takes the same ones for every seed of a run.

    A forward pass makes a sparse tensor, of which torch warns until it is told whether to check such tensors.
    """
    import torch
    from peft.tuners.shira import config

    checks = torch.sparse.check_sparse_tensor_invariants
    if not checks.is_enabled():
        checks.disable()
    original = config.random_mask

    def mask(base_layer: Any, r: int, **rest: Any) -> Any:
        return original(base_layer, r, **{**rest, "random_seed": int(torch.randint(2**31, (), device="cpu"))})

    config.random_mask = mask
    try:
        yield
    finally:
        config.random_mask = original


def _rank(layer: Any) -> int:
    entries = layer.shira_indices[_peft.ADAPTER].shape[1]
    return int(entries // (layer.in_features + layer.out_features))


def _held(setup: Setup) -> int:
    """The row and the column of each entry, whole numbers of four bytes."""
    return 8 * _injected.factors(setup)


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.shira import ShiraLayer

    return _injected.read(attached, ShiraLayer, rank=_rank)


METHOD = _injected.declare(
    name="shira",
    title="SHiRA",
    family="selective",
    paper=Paper(title="Sparse High Rank Adapters", year=2024, address="https://arxiv.org/abs/2406.13175"),
    summary="Trains a random 1–2 % of each targeted weight's entries: high rank at LoRA's parameter count.",
    capabilities=_injected.capable(quantized_base=True),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 32}, learning_rate=3e-4, targets="qv",
            source="peft method_comparison MetaMathQA, shira/llama-3.2-3B-lr_0.0003-random_seed_42: 0.510 on GSM8K,"
            " against LoRA's 0.478 with as many parameters",
        ),
        Seed(
            parameters={"rank": 32}, learning_rate=1e-3,
            source="the row above with its rate raised for the shorter runs of a search, on all linear layers",
        ),
    ),
    trainable=_injected.factors,
    config=_config,
    effective=_effective,
    held=_held,
    limits=_limits,
    during=_drawn,
)  # fmt: skip
