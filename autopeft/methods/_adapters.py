"""What the adapters share: where they stand and how they are hooked on; one call declares one from what is its own."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from autopeft.methods import _hooks, _native, _peft
from autopeft.methods._declaration import Capabilities, Facts, Method
from autopeft.methods._legal import contains, declared_violations, refuse
from autopeft.methods._targets import layer_violations, linear_modules, selected_layers
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue, Role
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Build = Callable[[Setup, tuple[ModuleShape, ...]], list[Any]]
"""(setup, places) → one torch module for each place, which maps a hidden state to the adapted one."""

_NAMES: dict[Role, str] = {"output": "attention output projection", "down": "feed-forward output projection"}

LEGAL: dict[str, "BaseDistribution"] = {
    "bottleneck": IntDistribution(1, 4096, log=True),
    "activation": CategoricalDistribution(("relu", "gelu")),
    "dropout": FloatDistribution(0.0, 0.9),
}

CAPABILITIES = Capabilities(
    tasks=_peft.ALL_TASKS, models=_peft.ALL_KINDS, quantized_base=True, mergeable=False, identity_at_start=True,
    adds_latency=True, changes_base=False, takes_targets=False, takes_layers=True,
)  # fmt: skip


class AdapterFacts(Facts):
    """The fields of `Method` that `declare` passes through."""

    memory_factor: float


def places(setup: Setup, roles: tuple[Role, ...]) -> tuple[ModuleShape, ...]:
    """Returns the projections that get an adapter, in the model's order.

    In a decoder that reads an encoder, cross-attention's projection is one of them: it is a sub-layer like the
    others.
    """
    layers = set(selected_layers(setup.model, setup.candidate))
    return tuple(m for m in linear_modules(setup.model) if m.layer in layers and m.role in roles)


def trainable(setup: Setup, roles: tuple[Role, ...]) -> int:
    """Returns the adapters' parameters: two matrices and two biases each."""
    inner = int(setup.candidate.parameters["bottleneck"])
    return sum(2 * m.out_features * inner + inner + m.out_features for m in places(setup, roles))


def violations(
    setup: Setup, roles: tuple[Role, ...], legal: Mapping[str, "BaseDistribution"] = LEGAL
) -> tuple[str, ...]:
    """Returns why adapters cannot stand after the modules of these roles."""
    declared = declared_violations(setup, CAPABILITIES, legal)
    if layer_violations(setup):
        return declared
    where = places(setup, roles)
    absent = [_NAMES[role] for role in roles if not any(m.role == role for m in where)]
    lacking = tuple(f"The selected layers of {setup.model.model_type} have no {name}." for name in absent)
    return (*declared, *lacking, *_too_wide(setup, where))


def _too_wide(setup: Setup, where: tuple[ModuleShape, ...]) -> tuple[str, ...]:
    inner = setup.candidate.parameters.get("bottleneck")
    if not isinstance(inner, int) or not contains(LEGAL["bottleneck"], inner):
        return ()
    for module in where:
        if inner > module.out_features:
            return (f"`bottleneck` is {inner}, above the width {module.out_features} after {module.name}.",)
    return ()


def bottlenecks(setup: Setup, where: tuple[ModuleShape, ...]) -> list[Any]:
    """Returns a plain bottleneck for each place."""
    from autopeft.methods._bottleneck import Bottleneck

    given = setup.candidate.parameters
    inner, activation, dropout = int(given["bottleneck"]), str(given["activation"]), float(given["dropout"])
    return [Bottleneck(shape.out_features, inner, activation, dropout) for shape in where]


def stand(model: Any, setup: Setup, roles: tuple[Role, ...], build: Build) -> Any:
    """Returns the model with what is built after each module of these roles in the selected layers."""
    return _native.attach(model, setup, partial(_add, setup=setup, roles=roles, build=build))


def _add(model: Any, setup: Setup, roles: tuple[Role, ...], build: Build) -> _hooks.Added:
    where = places(setup, roles)
    owners = [model.get_submodule(shape.name) for shape in where]
    with owners[0].weight.device:
        children = build(setup, where)
    return _hooks.hang(owners, children, _hooks.through_child)


def effective(model: Any) -> dict[str, ParameterValue]:
    """Returns the parameters as the attached modules have them.

    Raises:
        ModelError: there is no adapter, or they differ.
    """
    from autopeft.methods._bottleneck import Bottleneck

    found = _peft.layers(model, Bottleneck)
    return {
        "bottleneck": _peft.shared("bottleneck", [m.down.out_features for m in found]),
        "activation": _peft.shared("activation", [m.activation_name for m in found]),
        "dropout": _peft.shared("dropout", [m.dropout.p for m in found]),
    }


def _nothing(_setup: Setup) -> tuple[str, ...]:
    return ()


def declare(
    *,
    roles: tuple[Role, ...],
    legal: Mapping[str, "BaseDistribution"] = LEGAL,
    trainable: Callable[[Setup], int] | None = None,
    unfit: Callable[[Setup], tuple[str, ...]] = _nothing,
    attach: Callable[[Any, Setup], Any] | None = None,
    effective: Callable[[Any], dict[str, ParameterValue]] = effective,
    shardable: bool = True,
    **facts: Unpack[AdapterFacts],
) -> Method:
    """Returns the adapter; what is not given is as in plain bottlenecks.

    Args:
        roles: of the modules that it stands at.
        legal: its parameters' domains.
        trainable: as in `Method`.
        unfit: setup that is legal otherwise → what only this adapter refuses.
        attach: (task model, legal setup) → the attached model.
        effective: as in `Method`.
        shardable: as in `Capabilities`.
        facts: the other fields of `Method`.
    """
    checks = partial(_checks, roles=roles, legal=legal, unfit=unfit)
    apply = partial(_apply, checks=checks, attach=attach or partial(stand, roles=roles, build=bottlenecks))
    return Method(
        family="adapter", capabilities=replace(CAPABILITIES, shardable=shardable), legal=legal,
        trainable=trainable or partial(_plain, roles=roles),
        violations=checks, apply=apply, peft_config=_native.no_peft_config, effective=effective,
        detach=_native.detach, merge=None, save=_native.save, load=partial(_load, apply=apply), **facts,
    )  # fmt: skip


def _plain(setup: Setup, roles: tuple[Role, ...]) -> int:
    return trainable(setup, roles)


def _checks(
    setup: Setup,
    roles: tuple[Role, ...],
    legal: Mapping[str, "BaseDistribution"],
    unfit: Callable[[Setup], tuple[str, ...]],
) -> tuple[str, ...]:
    return violations(setup, roles, legal) or unfit(setup)


def _apply(
    model: Any, setup: Setup, checks: Callable[[Setup], tuple[str, ...]], attach: Callable[[Any, Setup], Any]
) -> Any:
    refuse(setup, checks)
    return attach(model, setup)


def _load(model: Any, setup: Setup, folder: Path, apply: Callable[[Any, Setup], Any]) -> Any:
    return _native.load_into(apply(model, setup), folder)
