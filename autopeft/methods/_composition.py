"""Two methods as one: something in the layers, and something put before the input.

The first attaches to the task model itself, the second wraps the result, and both train at one learning rate. The
task head trains once, with the second. What is saved is every trained tensor under its name in the wrapped model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopeft.methods import _native
from autopeft.methods._declaration import Capabilities, Method, Paper, Seed
from autopeft.methods._legal import declared_violations, refuse
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution, FloatDistribution

_FIRST = "autopeft_first"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two methods in the order in which they attach, with what they declare together."""

    first: Method
    second: Method
    capabilities: Capabilities
    legal: Mapping[str, "BaseDistribution"]


def compose(
    first: Method,
    second: Method,
    *,
    name: str,
    title: str,
    paper: Paper,
    summary: str,
    learning_rate: "FloatDistribution",
    seeds: tuple[Seed, ...],
) -> Method:
    """Returns the declaration of two methods used together.

    Any two may be named; where they collide, `violations` of the result says so.

    Args:
        first: what changes the layers; its targets and layers are the composition's.
        second: what stands before the input.
        name: of the composition, snake_case.
        title: its name in prose.
        paper: where the two were put together.
        summary: one sentence for the catalogue.
        learning_rate: the range for both.
        seeds: each gives the parameters of both.
    """
    pair = Pair(
        first=first, second=second, capabilities=_together(first.capabilities, second.capabilities),
        legal={**first.legal, **second.legal},
    )  # fmt: skip
    apply = partial(_apply, pair)
    return Method(
        name=name,
        kind="composition",
        title=title,
        family=first.family,
        paper=paper,
        summary=summary,
        capabilities=pair.capabilities,
        legal=pair.legal,
        learning_rate=learning_rate,
        seeds=seeds,
        trainable=partial(_trainable, pair),
        violations=partial(_violations, pair),
        apply=apply,
        peft_config=_native.no_peft_config,
        effective=partial(_effective, pair),
        detach=partial(_detach, pair),
        merge=None,
        save=_native.save,
        load=partial(_load, apply),
        memory_factor=max(first.memory_factor, second.memory_factor),
        layers_alike=first.layers_alike and second.layers_alike,
        traceable=first.traceable and second.traceable,
        held=partial(_held, pair),
    )


def _together(first: Capabilities, second: Capabilities) -> Capabilities:
    """Returns what holds of both: what one cannot do they cannot do together."""
    return Capabilities(
        tasks=tuple(task for task in first.tasks if task in second.tasks),
        models=tuple(kind for kind in first.models if kind in second.models),
        quantized_base=first.quantized_base and second.quantized_base,
        mergeable=False,
        identity_at_start=first.identity_at_start and second.identity_at_start,
        adds_latency=True,
        changes_base=first.changes_base or second.changes_base,
        moves_base=first.moves_base or second.moves_base,
        takes_targets=first.takes_targets,
        takes_layers=first.takes_layers,
        gradient_checkpointing=first.gradient_checkpointing and second.gradient_checkpointing,
        uses_context=first.uses_context or second.uses_context,
        shardable=first.shardable and second.shardable,
    )


def collisions(first: Method, second: Method) -> tuple[str, ...]:
    """Returns why two methods cannot be used together; empty where they can."""
    both = f"{first.name} and {second.name}"
    able, other = first.capabilities, second.capabilities
    found = []
    if able.uses_context and other.uses_context:
        found.append(f"{both} collide: each puts something before the input, and only one of them can.")
    elif not other.uses_context:
        found.append(f"{both} collide: the second must stand before the input, as the first changes the layers.")
    if able.changes_base or other.changes_base:
        found.append(f"{both} collide: one trains the base's weights, which the other takes as fixed.")
    shared = sorted(set(first.legal) & set(second.legal))
    if shared:
        found.append(f"{both} collide: both have a parameter `{shared[0]}`.")
    busy = [m.name for m in (first, second) if m.after_step or m.before_training or m.prepare]
    if busy:
        found.append(f"{both} collide: {busy[0]} has steps of its own beside training.")
    return tuple(found)


def _parts(pair: Pair, setup: Setup) -> tuple[Setup, Setup]:
    """Returns each method's own setup; the head belongs to the second, which wraps the first."""
    candidate, given = setup.candidate, setup.candidate.parameters
    inner = replace(
        candidate, method=pair.first.name, parameters={key: given[key] for key in pair.first.legal if key in given}
    )
    outer = replace(
        candidate, method=pair.second.name, targets="none", layers="all", layer_indices=None,
        parameters={key: given[key] for key in pair.second.legal if key in given},
    )  # fmt: skip
    headless = replace(setup.model, modules=tuple(m for m in setup.model.modules if not m.head))
    return replace(setup, candidate=inner, model=headless), replace(setup, candidate=outer)


def _violations(pair: Pair, setup: Setup) -> tuple[str, ...]:
    found = collisions(pair.first, pair.second)
    if found:
        return found
    first, second = _parts(pair, setup)
    own = declared_violations(setup, pair.capabilities, pair.legal)
    return tuple(dict.fromkeys((*own, *pair.first.violations(first), *pair.second.violations(second))))


def _trainable(pair: Pair, setup: Setup) -> int:
    first, second = _parts(pair, setup)
    return pair.first.trainable(first) + pair.second.trainable(second)


def _held(pair: Pair, setup: Setup) -> int:
    first, second = _parts(pair, setup)
    return pair.first.held(first) + pair.second.held(second)


def _apply(pair: Pair, model: Any, setup: Setup) -> Any:
    refuse(setup, partial(_violations, pair))
    first, second = _parts(pair, setup)
    inner = pair.first.apply(model, first)
    # peft leaves its config on the model that it changed, and takes a second one for a mistake.
    vars(model).pop("peft_config", None)
    trained = [parameter for parameter in inner.parameters() if parameter.requires_grad]
    outer = pair.second.apply(model, second)
    for parameter in trained:
        parameter.requires_grad_(requires_grad=True)
    # In a tuple, so that torch does not count the inner model twice.
    setattr(outer, _FIRST, (inner,))
    _native.remember(outer, setup)
    return outer


def _load(apply: Any, model: Any, setup: Setup, folder: Path) -> Any:
    return _native.load_into(apply(model, setup), folder)


def _effective(pair: Pair, attached: Any) -> dict[str, ParameterValue]:
    (inner,) = getattr(attached, _FIRST)
    return {**pair.first.effective(inner), **pair.second.effective(attached)}


def _detach(pair: Pair, attached: Any) -> Any:
    (inner,) = getattr(attached, _FIRST)
    pair.second.detach(attached)
    return pair.first.detach(inner)
