"""What the methods share that peft injects into linear layers: one call declares a method from what is its own."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from autopeft.methods import _peft
from autopeft.methods._declaration import Capabilities, Facts, Family, Method, nothing
from autopeft.methods._legal import declared_violations, rank_violations, refuse
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Violations = Callable[[Setup], tuple[str, ...]]


class InjectedFacts(Facts):
    """The fields of `Method` that `declare` passes through."""

    family: Family
    trainable: Callable[[Setup], int]
    effective: Callable[[Any], dict[str, ParameterValue]]


def declare(
    *,
    capabilities: Capabilities,
    legal: Mapping[str, "BaseDistribution"],
    config: Callable[[Setup], Any],
    limits: Violations | None = None,
    during: Callable[[], AbstractContextManager[None]] = nullcontext,
    settle: Callable[[Any], None] | None = None,
    save: Callable[[Any, Path], None] = _peft.save,
    restore: Callable[[Any, Path], None] | None = None,
    memory_factor: float = 1.0,
    held: Callable[[Setup], int] = nothing,
    traceable: bool = True,
    **facts: Unpack[InjectedFacts],
) -> Method:
    """Returns the method that attaches, merges and saves the way all of peft's injected layers do.

    Args:
        capabilities: what it can do; `merge` follows from it.
        legal: its parameters' domains.
        config: setup → peft's config.
        limits: setup → what only this method refuses; asked only about a setup that is legal otherwise, so that
            its parameters are there and its targets exist.
        during: what peft's injection runs within.
        settle: the attached model → None, what is left to do to it.
        save: as in `Method`.
        restore: (attached model with the saved values, folder) → None, what they were trained beside.
        memory_factor: as in `Method`.
        held: as there.
        traceable: as there.
        facts: the other fields of `Method`.
    """
    violations = partial(_violations, capabilities=capabilities, legal=legal, limits=limits)
    apply = partial(_apply, config=config, violations=violations, during=during, settle=settle)
    return Method(
        capabilities=capabilities, legal=legal, violations=violations, apply=apply, peft_config=config,
        detach=_peft.detach, merge=_peft.merge if capabilities.mergeable else None, save=save,
        load=partial(_load, apply=apply, restore=restore), memory_factor=memory_factor, held=held, traceable=traceable,
        **facts,
    )  # fmt: skip


def _violations(
    setup: Setup, capabilities: Capabilities, legal: Mapping[str, "BaseDistribution"], limits: Violations | None
) -> tuple[str, ...]:
    declared = declared_violations(setup, capabilities, legal)
    return declared if declared or limits is None else limits(setup)


def _apply(
    model: Any,
    setup: Setup,
    config: Callable[[Setup], Any],
    violations: Violations,
    during: Callable[[], AbstractContextManager[None]],
    settle: Callable[[Any], None] | None,
) -> Any:
    refuse(setup, violations)
    with during():
        attached = _peft.attach(model, config(setup))
    if settle is not None:
        settle(attached)
    return attached


def _load(
    model: Any,
    setup: Setup,
    folder: Path,
    apply: Callable[[Any, Setup], Any],
    restore: Callable[[Any, Path], None] | None,
) -> Any:
    attached = _peft.load_into(apply(model, setup), folder)
    if restore is not None:
        restore(attached, folder)
    return attached


def beside_weights(attached: Any, kind: type) -> None:
    """Moves the buffers of injected layers of a kind to their weights' device; peft makes some in main memory.

    They would be copied to the device again at every step.
    """
    for layer in _peft.layers(attached, kind):
        move_buffers(layer, layer.get_base_layer().weight.device)


def move_buffers(module: Any, device: Any) -> None:
    """Moves all buffers within a module to a device."""
    for owner in module.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            owner._buffers[name] = buffer.to(device)


def capable(
    *,
    quantized_base: bool = False,
    mergeable: bool = True,
    identity_at_start: bool = True,
    shardable: bool = True,
) -> Capabilities:
    """Returns the capabilities of a method whose layers stand beside any linear layer of any model."""
    return Capabilities(
        tasks=_peft.ALL_TASKS, models=_peft.ALL_KINDS, quantized_base=quantized_base, mergeable=mergeable,
        identity_at_start=identity_at_start, adds_latency=not mergeable, changes_base=False, takes_targets=True,
        takes_layers=True, shardable=shardable,
    )  # fmt: skip


def read(attached: Any, kind: type, **values: Callable[[Any], ParameterValue]) -> dict[str, ParameterValue]:
    """Returns each parameter as all injected layers of a kind have it.

    Raises:
        ModelError: there is no such layer, or they disagree.
    """
    layers = _peft.layers(attached, kind)
    return {key: _peft.shared(key, [value(layer) for layer in layers]) for key, value in values.items()}


def number(setup: Setup, key: str) -> int:
    """Returns a whole-number parameter of the setup."""
    return int(setup.candidate.parameters[key])


def total(setup: Setup, count: Callable[[ModuleShape], int]) -> int:
    """Returns the sum of a count over the targeted modules."""
    return sum(count(module) for module in target_modules(setup))


def factors(setup: Setup) -> int:
    """Returns the parameters of two factors like LoRA's over the targets: rank × (in + out) each."""
    rank = number(setup, "rank")
    return total(setup, lambda module: rank * (module.in_features + module.out_features))


def widest(setup: Setup) -> tuple[int, int]:
    """Returns the largest input and the largest output width of the targets, which what they share must reach."""
    modules = target_modules(setup)
    return max(module.in_features for module in modules), max(module.out_features for module in modules)


def rank_limits(setup: Setup) -> tuple[str, ...]:
    """Returns why `rank` exceeds the smaller dimension of a targeted module."""
    return rank_violations(setup, number(setup, "rank"))


def plain_limits(setup: Setup) -> tuple[str, ...]:
    """Returns why the targets cannot be adapted by layers that peft has for ``nn.Linear`` alone.

    A quantized base has none but those: bitsandbytes puts its own in place of transposed ones.
    """
    if setup.candidate.quantization != "none":
        return ()
    return first(setup, _stored_transposed)


def _stored_transposed(module: ModuleShape) -> str:
    if module.kind != "conv1d":
        return ""
    return f"{module.name} stores its weight transposed (Conv1D), for which the method has no layer."


def first(setup: Setup, complaint: Callable[[ModuleShape], str]) -> tuple[str, ...]:
    """Returns the first complaint about a targeted module, where there is one."""
    found = (complaint(module) for module in target_modules(setup))
    return tuple(sentence for sentence in found if sentence)[:1]


def division_limits(setup: Setup, key: str, *, inputs: bool, outputs: bool) -> tuple[str, ...]:
    """Returns why a size that must divide the input or output widths of the targets does not.

    Args:
        setup: what is asked for.
        key: the parameter that must divide.
        inputs: whether it must divide the input widths.
        outputs: whether it must divide the output widths.
    """
    size = number(setup, key)

    def complaint(module: ModuleShape) -> str:
        sides = [("input", module.in_features, inputs), ("output", module.out_features, outputs)]
        wrong = [(side, width) for side, width, needed in sides if needed and width % size]
        return "".join(
            f"`{key}` is {size}, which does not divide the {side} width {width} of {module.name}."
            for side, width in wrong[:1]
        )

    return first(setup, complaint)
