"""Search spaces: YAML files read against the methods' legal domains."""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from autopeft import resources
from autopeft.errors import FileFormatError, close_match
from autopeft.files import parse, read_yaml
from autopeft.methods import Method, get_method, is_own
from autopeft.methods._targets import GROUPS
from autopeft.optimizers import all_optimizers
from autopeft.quantization import all_quantizations
from autopeft.schedules import all_schedules
from autopeft.values.candidates import Candidate
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MISSPELT = 0.85
"""Likeness to a group of targets from which a word is taken for that group, and not for a module."""

_SHARE = re.compile(r"(last|gradient):1/0*([1-9]\d*)")
_LISTS = ("targets", "layers", "quantization", "optimizer", "schedule", "batch_size")


@dataclass(frozen=True, kw_only=True)
class Range:
    """What a parameter is searched over: ``low`` to ``high``, or ``choices``."""

    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    choices: tuple[ParameterValue, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """The range searched for one method: a subset of what is legal.

    Attributes:
        layers: as candidates have them; K may also be a share of the model's layers, such as ``last:1/2``.
        batch_size: choices of the effective batch: rows per optimizer step.
    """

    schema_version: int
    method: str
    learning_rate: Range
    parameters: Mapping[str, Range] = field(default_factory=dict)
    targets: tuple[str, ...]
    layers: tuple[str, ...]
    quantization: tuple[str, ...]
    optimizer: tuple[str, ...]
    schedule: tuple[str, ...] = (Candidate.schedule,)
    batch_size: tuple[int, ...]


def load_space(name: str, folder: Path | None = None) -> SearchSpace:
    """Returns a method's search space, checked against its legal domain.

    Args:
        name: of the method.
        folder: holds ``<name>.yaml``; the project's own ``search_spaces/`` by default. For a method that is not
            the catalogue's there need be no file: its legal domain is searched.

    Raises:
        FileFormatError: an unknown key, a range outside the legal domain, or a file for another method.
    """
    path, method = (folder or resources.search_spaces()) / f"{name}.yaml", get_method(name)
    if is_own(name) and not path.is_file():
        return legal_space(method)
    if folder is not None and not path.exists():
        raise FileFormatError(
            f"{path} is not there: a folder given with --search-spaces needs a file for each method in the search.\n"
            f"Copy search_spaces/{name}.yaml of autopeft there, or leave {name} out with --exclude."
        )
    space = parse(SearchSpace, read_yaml(path), str(path))
    problems = _problems(space, method)
    if problems:
        raise FileFormatError("\n".join([f"{path} is not a valid search space:", *(f"  {p}" for p in problems)]))
    return space


def legal_space(method: Method) -> SearchSpace:
    """Returns all that is legal for a method as a search space, with the usual choices of what every method has."""
    takes = method.capabilities.takes_targets
    return SearchSpace(
        schema_version=1,
        method=method.name,
        learning_rate=_whole(method.learning_rate),
        parameters={key: _whole(domain) for key, domain in method.legal.items()},
        targets=("attention", "mlp", "all-linear") if takes else ("none",),
        layers=("all",),
        quantization=("none",),
        optimizer=("adamw",),
        batch_size=(8, 16, 32),
    )


def _whole(domain: "BaseDistribution") -> Range:
    """Returns a legal domain as a range; one with steps as its values."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, CategoricalDistribution):
        return Range(choices=tuple(choice for choice in domain.choices if choice is not None))
    if not isinstance(domain, IntDistribution | FloatDistribution):
        raise TypeError(f"{type(domain).__name__} is no domain of a method's parameter.")
    step = domain.step
    if step is None or (isinstance(domain, IntDistribution) and step == 1):
        return Range(low=domain.low, high=domain.high, log=domain.log)
    count = int((domain.high - domain.low) / step + 1e-9) + 1
    return Range(choices=tuple(domain.low + index * step for index in range(count)))


def _problems(space: SearchSpace, method: Method) -> list[str]:
    problems = []
    if space.schema_version != 1:
        problems.append(f"`schema_version` must be 1; got {space.schema_version}.")
    if space.method != method.name:
        problems.append(f"`method` must be {method.name!r}; got {space.method!r}.")
    for key, searched in space.parameters.items():
        if key in method.legal:
            problems += _outside(f"parameters.{key}", searched, method.legal[key])
        else:
            problems.append(f"`parameters.{key}` is not a parameter. {close_match(key, method.legal)}".rstrip())
    problems += [f"`parameters.{key}` is missing." for key in method.legal if key not in space.parameters]
    return problems + _outside("learning_rate", space.learning_rate, method.learning_rate) + _choices(space)


def _choices(space: SearchSpace) -> list[str]:
    """Returns what is wrong with the lists of names and batch sizes: empty, or naming what is not there."""
    known: dict[str, Iterable[str]] = {
        "quantization": all_quantizations(),
        "optimizer": all_optimizers(),
        "schedule": all_schedules(),
    }
    problems = [f"`{key}` must name at least one choice." for key in _LISTS if not getattr(space, key)]
    for key, names in known.items():
        problems += [
            f"`{key}` must be one of {', '.join(names)}; got {name!r}. {close_match(name, names)}".rstrip()
            for name in getattr(space, key)
            if name not in names
        ]
    problems += [
        f"`targets` must be one of {', '.join(GROUPS)}, none, or names of modules; got {name!r}. "
        f"{close_match(name, GROUPS)}".rstrip()
        for name in space.targets
        if name not in GROUPS and (not re.fullmatch(r"[\w., ]+", name) or _misspelt(name))
    ]
    problems += [
        f"`layers` must be all, last:K, every:N or gradient:K with N ≥ 1 and K ≥ 1 or a share as 1/2; got {name!r}."
        for name in space.layers
        if not re.fullmatch(r"all|(last|every|gradient):0*[1-9]\d*", name) and not _SHARE.fullmatch(name)
    ]
    return problems + [f"`batch_size` must be at least 1; got {rows}." for rows in space.batch_size if rows < 1]


def _misspelt(name: str) -> bool:
    """Returns whether a name is a group's but for a letter: a module would hardly be called so, and `qkv` is one."""
    return bool(difflib.get_close_matches(name, GROUPS, n=1, cutoff=MISSPELT))


def resolved_layers(choices: Iterable[str], depth: int, *, gradients: bool) -> tuple[str, ...]:
    """Returns choices of layers with shares as counts, rounded up, and without repetition.

    Args:
        choices: from a search space.
        depth: layers of the model.
        gradients: whether to keep layers that are picked by their gradients.
    """
    found = []
    for choice in choices:
        share = _SHARE.fullmatch(choice)
        if gradients or not choice.startswith("gradient:"):
            found.append(f"{share[1]}:{math.ceil(depth / int(share[2]))}" if share else choice)
    return tuple(dict.fromkeys(found))


def _outside(key: str, searched: Range, legal: "BaseDistribution") -> list[str]:
    """Returns what is wrong with a range: both forms or neither, reversed, or values that are not legal."""
    bounds = [value for value in (searched.low, searched.high) if value is not None]
    if bool(searched.choices) == bool(bounds) or len(bounds) == 1:
        return [f"`{key}` must have either `low` and `high`, or `choices`."]
    if bounds and bounds[0] > bounds[1]:
        return [f"`{key}` must have low ≤ high; got {bounds[0]} > {bounds[1]}."]
    if bounds and searched.log and bounds[0] <= 0:
        return [f"`{key}` must have low > 0 where log is true; got {bounds[0]}."]
    wrong = [value for value in (*bounds, *searched.choices) if not _contains(legal, value)]
    return [f"`{key}` must lie in the legal domain {legal}; got {wrong}."] if wrong else []


def _contains(legal: "BaseDistribution", value: ParameterValue) -> bool:
    from optuna.distributions import CategoricalDistribution

    if isinstance(legal, CategoricalDistribution):
        return value in legal.choices
    if isinstance(value, str | bool):
        return False
    return bool(legal.low <= value <= legal.high)  # type: ignore[attr-defined]
