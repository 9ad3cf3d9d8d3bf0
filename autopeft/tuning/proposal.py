"""Candidates drawn by Optuna from the search spaces, each starting from what the recommender proposes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopeft.errors import FileFormatError
from autopeft.methods import get_method
from autopeft.tuning.guide import DRAWS, GUIDED, Guide
from autopeft.tuning.space import Range, SearchSpace, load_space, resolved_layers
from autopeft.values.candidates import Candidate, with_rows
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.trial import Trial


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
        "batch_size": Range(choices=space.batch_size),
        "schedule": Range(choices=space.schedule),
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
    """The spaces of the methods in a search, with the recommended candidate that each starts from.

    Attributes:
        guide: what judges draws before they are tried; None where the sampler alone decides.
    """

    spaces: Mapping[str, SearchSpace]
    starts: Mapping[str, Candidate]
    guide: Guide | None = None

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

    def promising(self, number: int, seed: int, slow: Collection[str] = ()) -> dict[str, ParameterValue]:
        """Returns the trial parameters of the most promising of a few draws; none where the guide has no turn.

        Args:
            number: of the trial that comes.
            seed: of the draws.
            slow: methods that took too long for a trial: the guide knows what they gain, and not what they cost here.
        """
        import optuna

        if self.guide is None or number % GUIDED:
            return {}
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        draws = [drawn for _ in range(DRAWS) if (drawn := self.draw(study.ask())).method not in slow]
        return self.fixed(self.guide.best(draws)) if draws else {}

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
        drawn = replace(
            start,
            parameters={key: values[key] for key in space.parameters},
            learning_rate=values["learning_rate"],
            targets=values["targets"],
            layers=values["layers"],
            quantization=values["quantization"],
            optimizer=values["optimizer"],
            schedule=values["schedule"],
        )
        return with_rows(drawn, int(values["batch_size"]), start.batch_size)


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


def proposal(
    starts: Sequence[Candidate],
    depth: int,
    folder: Path | None = None,
    *,
    gradients: bool = True,
    stored: Callable[[Candidate], tuple[str, ...]] = lambda start: (start.quantization,),
) -> Proposal:
    """Returns the spaces to search.

    Args:
        starts: the recommended candidates; of a method with several the first is what draws are filled up with.
        depth: layers of the model, which ``last:1/2`` and ``gradient:1/2`` are shares of.
        folder: of search spaces of the user's own.
        gradients: whether layers can be picked by their gradients; a base that is quantized, or shared out, gives none.
        stored: start → the quantizations to search where its file names none: by default the recommender's choice.
    """
    first: dict[str, Candidate] = {}
    for start in starts:
        first.setdefault(start.method, start)
    spaces = {
        name: _narrowed(start, depth, folder, stored(start), gradients=gradients) for name, start in first.items()
    }
    return Proposal(spaces=spaces, starts=first)


def _narrowed(
    start: Candidate, depth: int, folder: Path | None, stored: tuple[str, ...], *, gradients: bool
) -> SearchSpace:
    space = load_space(start.method, folder)
    quantization = stored if set(space.quantization) == {"none"} else space.quantization
    measurable = gradients and set(quantization) == {"none"}
    layers = resolved_layers(space.layers, depth, gradients=measurable)
    if not layers:
        raise FileFormatError(
            f"`layers` of the search space of {start.method} must name a choice that can be met here; "
            f"got {', '.join(space.layers)}.\nAdd `all`: layers cannot be picked by gradients on this base."
        )
    return replace(space, quantization=quantization, layers=layers)
