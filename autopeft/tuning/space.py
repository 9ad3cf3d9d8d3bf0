"""Search spaces: YAML files read against the methods' legal domains, and candidates drawn from them by Optuna."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopeft import resources
from autopeft.errors import FileFormatError, close_match
from autopeft.files import parse, read_yaml
from autopeft.methods import Method, get_method
from autopeft.methods._targets import GROUPS
from autopeft.optimizers import all_optimizers
from autopeft.quantization import all_quantizations
from autopeft.schedules import all_schedules
from autopeft.values.candidates import Candidate
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

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
    if "." in name and not path.is_file():
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
        if name not in GROUPS and not re.fullmatch(r"[\w., ]+", name)
    ]
    problems += [
        f"`layers` must be all, last:K, every:N or gradient:K with K, N ≥ 1; got {name!r}."
        for name in space.layers
        if not re.fullmatch(r"all|(last|every|gradient):0*[1-9]\d*", name)
    ]
    return problems + [f"`batch_size` must be at least 1; got {rows}." for rows in space.batch_size if rows < 1]


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


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One searched dimension of one method, as Optuna names and draws it."""

    name: str
    searched: Range
    integer: bool

    def draw(self, trial: "Trial") -> Any:
        """Returns a value that the trial's sampler picks."""
        low, high, log = self.searched.low, self.searched.high, self.searched.log
        if self.searched.choices or low is None or high is None:
            return trial.suggest_categorical(self.name, self.searched.choices)
        if self.integer:
            return trial.suggest_int(self.name, int(low), int(high), log=log)
        return trial.suggest_float(self.name, low, high, log=log)

    def nearest(self, value: ParameterValue) -> ParameterValue:
        """Returns the searched value that lies nearest to a given one."""
        low, high, choices = self.searched.low, self.searched.high, self.searched.choices
        if choices or low is None or high is None:
            return _nearest_choice(value, choices)
        number = float(value)
        return value if low <= number <= high else low if number < low else high


def _nearest_choice(value: ParameterValue, choices: Sequence[ParameterValue]) -> ParameterValue:
    if value in choices or isinstance(value, str | bool):
        return value if value in choices else choices[0]
    numbers = [choice for choice in choices if not isinstance(choice, str | bool)]
    return min(numbers, key=lambda choice: abs(choice - value))


def dimensions(space: SearchSpace) -> dict[str, Dimension]:
    """Returns the dimensions of a method's space by their key: parameters first, then what every method has."""
    from optuna.distributions import IntDistribution

    method = get_method(space.method)
    common = {
        "learning_rate": space.learning_rate,
        "targets": Range(choices=space.targets),
        "layers": Range(choices=space.layers),
        "quantization": Range(choices=space.quantization),
        "optimizer": Range(choices=space.optimizer),
        "schedule": Range(choices=space.schedule),
        "batch_size": Range(choices=space.batch_size),
    }
    return {
        key: Dimension(
            name=f"{space.method}.{key}",
            searched=searched,
            integer=isinstance(method.legal.get(key), IntDistribution),
        )
        for key, searched in {**space.parameters, **common}.items()
    }


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The spaces of the methods in a search, with the recommended candidate that each starts from."""

    spaces: Mapping[str, SearchSpace]
    starts: Mapping[str, Candidate]

    def draw(self, trial: "Trial") -> Candidate:
        """Returns the candidate that the trial's sampler picks."""
        name = trial.suggest_categorical("method", tuple(self.spaces))
        space = self.spaces[name]
        values = {key: dimension.draw(trial) for key, dimension in dimensions(space).items()}
        return self._candidate(space, values)

    def complete(self, drawn: Mapping[str, Any]) -> bool:
        """Returns whether a trial's parameters name a candidate in full."""
        space = self.spaces.get(drawn.get("method", ""))
        return space is not None and all(d.name in drawn for d in dimensions(space).values())

    def given(self, drawn: Mapping[str, Any]) -> Candidate:
        """Returns the candidate that a trial's parameters, by Optuna's names, stand for."""
        space = self.spaces[drawn["method"]]
        return self._candidate(space, {key: drawn[d.name] for key, d in dimensions(space).items()})

    def fixed(self, candidate: Candidate) -> dict[str, ParameterValue]:
        """Returns the trial parameters that draw a given candidate, or the nearest one in its space."""
        space = self.spaces[candidate.method]
        given = _values(candidate)
        drawn = {d.name: d.nearest(given[key]) for key, d in dimensions(space).items() if key in given}
        return {"method": candidate.method, **drawn}

    def moved(self) -> list[str]:
        """Returns a sentence for each start that lies outside its space and is tried at the nearest value instead."""
        found = []
        for name, start in self.starts.items():
            drawn, own = self.fixed(start), dimensions(self.spaces[name])
            given = _values(start)
            changes = [
                f"{key} {given[key]} to {drawn[d.name]}"
                for key, d in own.items()
                if key in given and drawn[d.name] != given[key]
            ]
            if changes:
                found.append(f"The start of {name} is moved into its search space: {', '.join(changes)}.")
        return found

    def _candidate(self, space: SearchSpace, values: Mapping[str, Any]) -> Candidate:
        start = self.starts[space.method]
        rows = int(values["batch_size"])
        micro = min(rows, start.batch_size)
        return replace(
            start,
            parameters={key: values[key] for key in space.parameters},
            learning_rate=values["learning_rate"],
            targets=values["targets"],
            layers=values["layers"],
            quantization=values["quantization"],
            optimizer=values["optimizer"],
            schedule=values["schedule"],
            batch_size=micro,
            accumulation=max(1, rows // micro),
        )


def _values(candidate: Candidate) -> dict[str, ParameterValue]:
    """Returns what a candidate sets, by the keys of `dimensions`."""
    return {
        **candidate.parameters,
        "learning_rate": candidate.learning_rate,
        "targets": candidate.targets,
        "layers": candidate.layers,
        "quantization": candidate.quantization,
        "optimizer": candidate.optimizer,
        "schedule": candidate.schedule,
        "batch_size": candidate.batch_size * candidate.accumulation,
    }


def proposal(starts: Sequence[Candidate], folder: Path | None = None) -> Proposal:
    """Returns the spaces to search, narrowed to the quantization that the recommender chose for each method."""
    spaces = {
        start.method: replace(load_space(start.method, folder), quantization=(start.quantization,)) for start in starts
    }
    return Proposal(spaces=spaces, starts={start.method: start for start in starts})
