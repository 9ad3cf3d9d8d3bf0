"""MoRA: a square matrix in place of two thin ones, so that the update has a high rank at LoRA's budget.

ΔW x = widen(M narrow(x)), M square with the side ⌊√((in + out) · rank)⌋: as many weights as LoRA's two factors of that
rank. Narrowing and widening have no parameters. ``sharing`` (equation 6 of the paper) sums the input over groups of
M's width and repeats M's result over the output. ``rope`` (equation 9) keeps the groups apart: each is turned by
rotary position angles of its place, so that one M does something different to every group, and the results stand
side by side; the side is even then. M starts at zero, so the start is the base. Where the side does not divide the
input, the last group is filled up with zeros (the authors' code repeats the beginning of the input there).
"""

from math import isqrt
from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from autopeft.methods import _additive, _peft
from autopeft.methods._declaration import Method, Paper, Seed
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {
    "rank": IntDistribution(1, 1024, log=True),
    "variant": CategoricalDistribution(("rope", "sharing")),
    "dropout": FloatDistribution(0.0, 0.9),
}


def side(inputs: int, outputs: int, rank: int, variant: str) -> int:
    """Returns the side of the square matrix that has no more weights than two factors of a rank; even for ``rope``."""
    whole = isqrt((inputs + outputs) * rank)
    return whole - whole % 2 if variant == "rope" else whole


def _side(setup: Setup, module: ModuleShape) -> int:
    given = setup.candidate.parameters
    return side(module.in_features, module.out_features, int(given["rank"]), str(given["variant"]))


def _trainable(setup: Setup) -> int:
    return sum(_side(setup, module) ** 2 for module in target_modules(setup))


def _held(setup: Setup) -> int:
    """Where groups are turned, a cosine and a sine of each coordinate, float32."""
    if setup.candidate.parameters["variant"] != "rope":
        return 0
    sides = ((_side(setup, module), module.in_features) for module in target_modules(setup))
    return sum(8 * side * -(-inputs // side) for side, inputs in sides)


def _unfit(setup: Setup) -> tuple[str, ...]:
    for module in target_modules(setup):
        width, smaller = _side(setup, module), min(module.in_features, module.out_features)
        if width > smaller:
            rank = setup.candidate.parameters["rank"]
            return (
                f"`rank` is {rank}: it buys a square of side {width}, above the smaller dimension {smaller} of"
                f" {module.name}.",
            )
    return ()


def _build(setup: Setup) -> list[Any]:
    from autopeft.methods._mora import Square

    given = setup.candidate.parameters
    rank, variant, dropout = int(given["rank"]), str(given["variant"]), float(given["dropout"])
    return [
        Square(m.in_features, m.out_features, _side(setup, m), rank=rank, variant=variant, dropout=dropout)
        for m in target_modules(setup)
    ]


def _read(modules: list[Any]) -> dict[str, ParameterValue]:
    variant = _peft.shared("variant", [m.variant for m in modules])
    sizes = {(m.inputs, m.outputs, m.matrix.shape[0]) for m in modules}
    # Several ranks can buy the same side: the one asked for counts where it explains every module's.
    ranks = (modules[0].rank, *range(1, 1025))
    explained = (r for r in ranks if all(side(i, o, r, str(variant)) == width for i, o, width in sizes))
    return {
        "rank": next(explained, 0),
        "variant": variant,
        "dropout": _peft.shared("dropout", [m.dropout.p for m in modules]),
    }


FORM = _additive.Form(legal=LEGAL, build=_build, read=_read, unfit=_unfit)

METHOD = Method(
    name="mora",
    title="MoRA",
    family="low-rank",
    paper=Paper(
        title="MoRA: High-Rank Updating for Parameter-Efficient Fine-Tuning",
        year=2024, address="https://arxiv.org/abs/2405.12130",
    ),
    summary="One square matrix per layer at LoRA's budget: updates of high rank, for tasks that store knowledge.",
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 8, "variant": "rope", "dropout": 0.0}, learning_rate=2e-3,
            source="rank and variant of the authors' published run on MetaMath (Jiang et al., arXiv 2405.12130); the"
            " rate measured here, 50 steps of 16 movie reviews on MiniLM: at the run's own 3e-4 little is learned",
        ),
        Seed(
            parameters={"rank": 8, "variant": "rope", "dropout": 0.0}, learning_rate=3e-4,
            source="the same run with its own rate, for thousands of steps",
        ),
        Seed(
            parameters={"rank": 64, "variant": "sharing", "dropout": 0.0}, learning_rate=3e-4,
            source="Jiang et al., arXiv 2405.12130: sharing for large ranks; the rate as above",
        ),
    ),
    trainable=_trainable,
    held=_held,
    **_additive.functions(FORM),
)  # fmt: skip
