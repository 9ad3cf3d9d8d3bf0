"""Intrinsic SAID: the whole update is a random projection of a few hundred numbers, with one scale for each layer.

ΔW_i = λ_{layer(i)} · P_i(θ): θ has d − m numbers, λ has m, one for each of the m selected layers (the structure-aware
form of the paper), so exactly d train whatever the model's size. P_i is the Fastfood projection H G Π H B of the
module's own random signs, permutation and Gaussian factors; it costs O(D log D) time and O(D) room for D weights,
where a dense projection would take d · D. θ starts at zero and λ at one, so the start is the base.

The paper projects into every parameter; here it is into the weights of the targeted modules. The projected update is
as large as the weights it is added to, in float32: the method measures how many dimensions a task needs, and it is
not meant for large models.
"""

from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _additive
from autopeft.methods._declaration import Method, Paper, Seed
from autopeft.methods._powers import block_side, padded
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {"dimension": IntDistribution(2, 10**6, log=True)}


def _dimension(setup: Setup) -> int:
    return int(setup.candidate.parameters["dimension"])


def _layers(setup: Setup) -> list[int | None]:
    """Returns the layers with a target, in order: each has a scale of its own."""
    return list(dict.fromkeys(module.layer for module in target_modules(setup)))


def _unfit(setup: Setup) -> tuple[str, ...]:
    dimension, scales = _dimension(setup), len(_layers(setup))
    if dimension <= scales:
        return (
            f"`dimension` is {dimension}, but {scales} of them are the scales of {scales} layers: at least"
            f" {scales + 1} are needed.",
        )
    smallest = min(target_modules(setup), key=lambda module: module.in_features * module.out_features)
    room = smallest.in_features * smallest.out_features
    if dimension - scales > room:
        return (f"`dimension` is {dimension}, above the {room} weights of {smallest.name}.",)
    return ()


def _build(setup: Setup) -> list[Any]:
    import torch

    from autopeft.methods._fastfood import Fastfood

    layers = _layers(setup)
    directions = torch.nn.Parameter(torch.zeros(_dimension(setup) - len(layers)))
    scales = torch.nn.Parameter(torch.ones(len(layers)))
    return [
        Fastfood(m.in_features, m.out_features, directions, scales, layers.index(m.layer), seed)
        for seed, m in enumerate(target_modules(setup))
    ]


def _held(setup: Setup) -> int:
    """Signs, order and factors of each projection, nine bytes a number, and the matrix its transforms are made of."""
    lengths = [padded(module.in_features * module.out_features) for module in target_modules(setup)]
    return sum(9 * length + 4 * block_side(length) ** 2 for length in lengths)


def _read(modules: list[Any]) -> dict[str, ParameterValue]:
    shared = {id(p): p.numel() for m in modules for p in (m.directions, m.scales)}
    return {"dimension": sum(shared.values())}


FORM = _additive.Form(legal=LEGAL, build=_build, read=_read, unfit=_unfit)

METHOD = Method(
    name="intrinsic_said",
    title="intrinsic SAID",
    family="low-rank",
    paper=Paper(
        title="Intrinsic Dimensionality Explains the Effectiveness of Language Model Fine-Tuning",
        year=2020, address="https://arxiv.org/abs/2012.13255",
    ),
    summary="A few hundred numbers, spread over all weights at random; takes as much memory as the base.",
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 1e-1, log=True),
    seeds=(
        Seed(
            parameters={"dimension": 1000}, learning_rate=3e-2,
            source="Aghajanyan et al., arXiv 2012.13255: hundreds of dimensions reach 90 % on paraphrase tasks; the"
            " rate lies between 1e-2 and 5e-2, which both learn, slowly, in 50 steps of 16 movie reviews on MiniLM",
        ),
        Seed(
            parameters={"dimension": 200}, learning_rate=3e-2,
            source="Aghajanyan et al., arXiv 2012.13255, abstract: 200 for RoBERTa on MRPC; the rate as above",
        ),
    ),
    trainable=_dimension,
    held=_held,
    layers_alike=False,  # one projection spreads its numbers over the weights of all layers
    **_additive.functions(FORM, shardable=False),
)  # fmt: skip
