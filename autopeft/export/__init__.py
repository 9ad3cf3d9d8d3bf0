"""Exports of a tuned config to other tools: one file per target, found by walking this package."""

from dataclasses import replace
from functools import cache

from autopeft.discovery import discover
from autopeft.errors import unknown
from autopeft.export._declaration import Exported, Target
from autopeft.export._facts import collect
from autopeft.tuned import TunedConfig

__all__ = ["Exported", "Target", "all_targets", "export"]


@cache
def all_targets() -> dict[str, Target]:
    """Returns every export target by name, sorted."""
    import autopeft.export as package

    return discover(package, "TARGET", Target)


def export(tuned: TunedConfig, target: str) -> Exported:
    """Returns a tuned config as a target's own file, with everything that the target cannot express.

    Raises:
        InvalidValueError: there is no such target, or it lacks the method, the task or the model.
        ModelError: the model's config is not the one that was tuned.
    """
    targets = all_targets()
    if target not in targets:
        raise unknown("--to", "autopeft export", target, targets)
    facts = collect(tuned, targets[target].title)
    made = targets[target].render(facts)
    return replace(made, unsupported=(*made.unsupported, _CODE)) if facts.setup.model.own_code else made


_CODE = (
    "The base model needs code that it brings along: no file grants leave to run it. Read that code, then tell the "
    "tool by its own option, usually trust_remote_code."
)
