"""The scaled parallel adapter of He et al.: a bottleneck beside the feed-forward instead of after it.

h ← FFN(x) + s · up(act(down(x))): the adapter reads what the feed-forward reads, x, and its result, times the fixed
scale s, is added to the feed-forward's output. down starts as a linear layer's weight (LoRA's start), up and the biases
at zero, so the start is the base. The paper finds the parallel place better than the sequential one, the feed-forward
better than attention, and s = 4 good for wide bottlenecks.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _adapters, _hooks, _native, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._targets import linear_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue, Role
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ROLES: tuple[Role, ...] = ("down",)
ENTRANCES: tuple[Role, ...] = ("up", "gate", "gate_up")
LEGAL: dict[str, "BaseDistribution"] = {**_adapters.LEGAL, "scale": FloatDistribution(0.01, 64.0, log=True)}


def _pairs(setup: Setup) -> list[tuple[ModuleShape | None, ModuleShape]]:
    """Returns each feed-forward's output projection, with the last projection before it that reads its input."""
    modules, found = linear_modules(setup.model), []
    for down in _adapters.places(setup, ROLES):
        before = modules[: modules.index(down)]
        entrances = [m for m in before if m.layer == down.layer and m.role in ENTRANCES]
        found.append((entrances[-1] if entrances else None, down))
    return found


def _unpaired(setup: Setup) -> tuple[str, ...]:
    for entrance, down in _pairs(setup):
        if entrance is None:
            return (f"There is no projection into the feed-forward before {down.name}, whose input an adapter reads.",)
        if entrance.in_features != down.out_features:
            return (
                f"{entrance.name} reads {entrance.in_features} features and {down.name} makes {down.out_features}:"
                " an adapter beside them needs one width.",
            )
    return ()


def _attach(model: Any, setup: Setup) -> Any:
    return _native.attach(model, setup, partial(_add, setup=setup))


def _add(model: Any, setup: Setup) -> _hooks.Added:
    pairs = [(entrance, down) for entrance, down in _pairs(setup) if entrance is not None]
    children = _adapters.bottlenecks(setup, tuple(down for _, down in pairs))
    for child in children:
        child.scale = float(setup.candidate.parameters["scale"])
    owners = [model.get_submodule(down.name) for _, down in pairs]
    parameters, take_out = _hooks.hang(owners, children, _add_update)
    doors = [model.get_submodule(entrance.name) for entrance, _ in pairs]
    handles = [d.register_forward_pre_hook(partial(_keep, c)) for d, c in zip(doors, children, strict=True)]
    return parameters, partial(_remove, handles, take_out)


def _keep(child: Any, _entrance: Any, inputs: tuple[Any, ...]) -> None:
    child.hidden = inputs[0]


def _add_update(owner: Any, _inputs: Any, output: Any) -> Any:
    child = getattr(owner, _hooks.CHILD)
    # Let go before use: under gradient checkpointing the pass may end early, and the input would stay alive.
    hidden, child.hidden = child.hidden, None
    return output + child.update(hidden).to(output.dtype)


def _remove(handles: list[Any], take_out: Any) -> None:
    for handle in handles:
        handle.remove()
    take_out()


def _effective(model: Any) -> dict[str, ParameterValue]:
    scales = [child.scale for child in _hooks.children(model)]
    return {**_adapters.effective(model), "scale": _peft.shared("scale", scales)}


METHOD = _adapters.declare(
    name="parallel_adapter",
    title="parallel adapter",
    paper=Paper(
        title="Towards a Unified View of Parameter-Efficient Transfer Learning",
        year=2021, address="https://arxiv.org/abs/2110.04366",
    ),
    summary="A scaled bottleneck beside the feed-forward of each layer: reads its input, adds to its output.",
    legal=LEGAL,
    roles=ROLES,
    learning_rate=FloatDistribution(1e-5, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"bottleneck": 64, "activation": "relu", "dropout": 0.0, "scale": 4.0}, learning_rate=1e-3,
            targets="none",
            source="scale and activation of He et al., arXiv 2110.04366; size and rate within what the sequential"
            " adapters' paper tried, because 3e-4 learned little in 50 steps of 16 movie reviews on MiniLM",
        ),
        Seed(
            parameters={"bottleneck": 512, "activation": "relu", "dropout": 0.0, "scale": 4.0}, learning_rate=1e-4,
            targets="none", source="He et al., arXiv 2110.04366: 512 wide at scale 4 on summarisation; a gentler rate",
        ),
    ),
    unfit=_unpaired,
    attach=_attach,
    effective=_effective,
    memory_factor=0.3,
)  # fmt: skip
