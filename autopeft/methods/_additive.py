"""What the methods share that add an update beside linear layers: attaching, counting, merging, loading.

A method of this kind says in a `Form` what is its own. Its torch modules map the layer's input, of shape (…, in), to
what is added to its output, of shape (…, out), and return the update as a matrix (out, in) from ``delta()``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from autopeft.methods import _hooks, _native, _peft
from autopeft.methods._declaration import Capabilities
from autopeft.methods._legal import declared_violations, refuse
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

CAPABILITIES = Capabilities(
    tasks=_peft.ALL_TASKS, models=_peft.ALL_KINDS, quantized_base=True, mergeable=True, identity_at_start=True,
    adds_latency=False, changes_base=False, takes_targets=True, takes_layers=True,
)  # fmt: skip


def _nothing(_setup: Setup) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Form:
    """What one method of this kind is.

    Attributes:
        legal: its legal domain.
        build: setup → one torch module for each target, in the order of `target_modules`.
        read: the attached modules → the parameters that took effect.
        unfit: setup that keeps the legal domain → what else is wrong with it, such as a width that does not divide.
    """

    legal: Mapping[str, "BaseDistribution"]
    build: Callable[[Setup], list[Any]]
    read: Callable[[list[Any]], dict[str, ParameterValue]]
    unfit: Callable[[Setup], tuple[str, ...]] = _nothing


def violations(setup: Setup, form: Form) -> tuple[str, ...]:
    """Returns why the updates cannot stand beside the targets."""
    return declared_violations(setup, CAPABILITIES, form.legal) or form.unfit(setup)


def apply(model: Any, setup: Setup, form: Form) -> Any:
    """Returns the model with an update beside each target.

    Raises:
        InvalidValueError: the setup is in violation.
    """
    refuse(setup, partial(violations, form=form))
    return _native.attach(model, setup, partial(_add, setup=setup, form=form))


def _add(model: Any, setup: Setup, form: Form) -> _hooks.Added:
    owners = [model.get_submodule(shape.name) for shape in target_modules(setup)]
    with owners[0].weight.device:
        children = form.build(setup)
    return _hooks.hang(owners, children, _hooks.beside)


def load(model: Any, setup: Setup, folder: Path, form: Form) -> Any:
    """Returns the model with saved updates attached."""
    return _native.load_into(apply(model, setup, form), folder)


def effective(model: Any, form: Form) -> dict[str, ParameterValue]:
    """Returns the parameters as the attached modules have them.

    Raises:
        ModelError: there is no update, or they differ.
    """
    return form.read(_hooks.children(model))


def merge(model: Any) -> Any:
    """Returns the task model with the updates folded into its weights and the trained head in place.

    Raises:
        ModelError: the base is quantized, or nothing is attached.
    """
    _hooks.fold(model)
    return _native.keep(model)


class Functions(TypedDict):
    """What every method of this kind declares alike, by the names of `Method`."""

    capabilities: Capabilities
    violations: Callable[[Setup], tuple[str, ...]]
    apply: Callable[[Any, Setup], Any]
    peft_config: Callable[[Setup], Any]
    effective: Callable[[Any], dict[str, ParameterValue]]
    detach: Callable[[Any], Any]
    merge: Callable[[Any], Any]
    save: Callable[[Any, Path], None]
    load: Callable[[Any, Setup, Path], Any]


def functions(form: Form, *, shardable: bool = True) -> Functions:
    """Returns what a declaration of this kind takes from here: ``Method(…, **functions(form))``."""
    return Functions(
        capabilities=replace(CAPABILITIES, shardable=shardable),
        violations=partial(violations, form=form),
        apply=partial(apply, form=form),
        peft_config=_native.no_peft_config,
        effective=partial(effective, form=form),
        detach=_native.detach,
        merge=merge,
        save=_native.save,
        load=partial(load, form=form),
    )
