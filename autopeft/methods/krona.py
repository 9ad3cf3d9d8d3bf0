"""KronA: the update is a Kronecker product of two full matrices.

ΔW = scale · A ⊗ B with A of side ``factor`` and B of shape (out / factor, in / factor). The rank of the product is the
product of the ranks, so it can be full with few weights, where two thin factors of the same budget cannot. B starts
at zero and A as a linear layer's weight, so the start is the base.

LoKr has the same product with B in two low-rank factors; peft's version picks the sizes itself, drops the rank
silently where B would be as small, and takes neither transposed layers nor a quantized base. That is what is left
for this one: both factors in full, on any of those.
"""

from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _additive, _peft
from autopeft.methods._declaration import Method, Paper, Seed
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {
    "factor": IntDistribution(2, 1024, log=True),
    "scale": FloatDistribution(0.01, 64.0, log=True),
}


def _factor(setup: Setup) -> int:
    return int(setup.candidate.parameters["factor"])


def _trainable(setup: Setup) -> int:
    side = _factor(setup)
    return sum(side**2 + m.out_features // side * (m.in_features // side) for m in target_modules(setup))


def _unfit(setup: Setup) -> tuple[str, ...]:
    side = _factor(setup)
    for module in target_modules(setup):
        for word, width in (("input", module.in_features), ("output", module.out_features)):
            if width % side:
                return (f"`factor` is {side}, which does not divide the {word} width {width} of {module.name}.",)
    return ()


def _build(setup: Setup) -> list[Any]:
    from autopeft.methods._kronecker import Kronecker

    side, scale = _factor(setup), float(setup.candidate.parameters["scale"])
    return [Kronecker(m.in_features, m.out_features, side, scale) for m in target_modules(setup)]


def _read(modules: list[Any]) -> dict[str, ParameterValue]:
    return {
        "factor": _peft.shared("factor", [m.small.shape[0] for m in modules]),
        "scale": _peft.shared("scale", [m.scale for m in modules]),
    }


FORM = _additive.Form(legal=LEGAL, build=_build, read=_read, unfit=_unfit)

METHOD = Method(
    name="krona",
    title="KronA",
    family="low-rank",
    paper=Paper(
        title="KronA: Parameter Efficient Tuning with Kronecker Adapter",
        year=2022, address="https://arxiv.org/abs/2212.10650",
    ),
    summary="A Kronecker product of two full matrices: high rank from few weights, on quantized and Conv1D layers too.",
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 5e-2, log=True),
    seeds=(
        Seed(
            parameters={"factor": 8, "scale": 4.0}, learning_rate=1e-3,
            source="measured here: 80 steps of 16 movie reviews on MiniLM learn as well as plain low-rank adaptation"
            " with half the parameters; Edalati et al., arXiv 2212.10650, tune size, scale and rate by task",
        ),
        Seed(
            parameters={"factor": 32, "scale": 4.0}, learning_rate=3e-3,
            source="a seventh of those parameters; at scale 1 and 1e-3 it learned nothing in that time",
        ),
    ),
    trainable=_trainable,
    **_additive.functions(FORM),
)  # fmt: skip
