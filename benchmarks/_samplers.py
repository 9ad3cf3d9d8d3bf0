"""What proposes the next recorded run: chance, or Optuna's TPE over method, learning rate and size."""

import math
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from autopeft.methods import baseline
from autopeft.tuning.guide import DRAWS, GUIDED
from autopeft.tuning.starts import HOTTER
from benchmarks._arms import Pool

_OTHER_METHOD = 1.0
"""Distance of a run of another method, where learning rates and sizes at the two ends of the pool are 1 apart."""

FEW = 4
"""Runs of a method that are drawn by chance before its own study draws by what it has seen."""

LEAST_RACING = 2
"""Methods that a race above their studies keeps at the least."""

_SAME_RATE = 0.05
"""Difference of the logarithms of two learning rates that are taken for one."""


class Sampler(Protocol):
    """Proposes runs of a pool, each at most once."""

    def ask(self) -> int:
        """Returns the next run's position in the pool."""
        ...

    def tell(self, arm: int, readings: Mapping[int, float], *, finished: bool) -> None:
        """Learns how far a run came: its readings by step, and whether it came to its end."""
        ...


@dataclass(frozen=True)
class Place:
    """Where a run lies in the space that samplers draw from: a method, and the logarithms of its rate and its size."""

    method: str
    rate: float
    size: float


class Space:
    """The space of a pool: its methods, alike likely, and the spans of rates and sizes.

    A drawn place stands for the nearest run that has not been proposed, so that every sampler starts from the same
    prior over runs: one that drew from the list of runs would see the pool's favourite methods more often.
    """

    def __init__(self, pool: Pool) -> None:
        """Lays the space over a pool."""
        self.places = [
            Place(arm.method, math.log(arm.learning_rate), math.log(arm.trainable_parameters)) for arm in pool.arms
        ]
        self.methods = sorted({place.method for place in self.places})
        self.rates = _span([place.rate for place in self.places])
        self.sizes = _span([place.size for place in self.places])
        self._left = set(range(len(self.places)))

    def draw(self, by: random.Random) -> Place:
        """Returns a place drawn by chance."""
        return Place(by.choice(self.methods), by.uniform(*self.rates), by.uniform(*self.sizes))

    def nearest(self, drawn: Place) -> int:
        """Returns the nearest run that is left."""
        return min(self._left, key=lambda arm: (self._distance(self.places[arm], drawn), arm))

    def remove(self, arm: int) -> int:
        """Returns a run, which then is not left any more."""
        self._left.remove(arm)
        return arm

    def _distance(self, one: Place, other: Place) -> float:
        return (
            _OTHER_METHOD * (one.method != other.method)
            + abs(one.rate - other.rate) / (self.rates[1] - self.rates[0])
            + abs(one.size - other.size) / (self.sizes[1] - self.sizes[0])
        )


def starts(pool: Pool, count: int) -> list[int]:
    """Returns the runs that a search would begin with: of as many methods the one that is expected to gain most.

    The default recipe's method comes first, as in `autopeft.tuning.selection`, and then its run at the hotter rate of
    `autopeft.tuning.starts`, where the pool has one.
    """
    first: dict[str, int] = {}
    for place in pool.advice:
        first.setdefault(pool.arms[place].method, place)
    default, _ = baseline("default")
    if default not in first:
        return list(first.values())[:count]
    start = first.pop(default)
    return [start, *_hotter(pool, start), *first.values()][:count]


def _hotter(pool: Pool, start: int) -> list[int]:
    own, rate = pool.arms[start], HOTTER * pool.arms[start].learning_rate
    alike = [place for place, arm in enumerate(pool.arms) if arm.method == own.method]
    return [place for place in alike if abs(math.log(pool.arms[place].learning_rate / rate)) < _SAME_RATE][:1]


class RandomSampler:
    """Proposes given runs first, and then by chance."""

    def __init__(self, pool: Pool, seed: int, first: Sequence[int] = ()) -> None:
        """Prepares the draws."""
        self._space, self._random, self._first = Space(pool), random.Random(seed), list(first)

    def ask(self) -> int:
        """Returns the next run."""
        space = self._space
        return space.remove(self._first.pop(0) if self._first else space.nearest(space.draw(self._random)))

    def tell(self, arm: int, readings: Mapping[int, float], *, finished: bool) -> None:
        """Learns nothing."""


class TpeSampler:
    """Proposes given runs first, then those nearest to the method, the rate and the size that TPE draws."""

    def __init__(
        self, pool: Pool, seed: int, sampler: Any, study: Any = None, *, first: Sequence[int] = (), guided: bool = False
    ) -> None:
        """Opens a study in memory, or uses the given one.

        Args:
            pool: what is proposed from.
            seed: of the study, unless one is given.
            sampler: makes Optuna's sampler from a seed.
            study: an Optuna study.
            first: runs to propose before any is drawn.
            guided: whether every other run is the one of a few draws by chance that is expected to gain most, as
                `autopeft.tuning.guide` has it.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        self.study = study or optuna.create_study(sampler=sampler(seed))
        self._space = Space(pool)
        self._distributions: dict[str, Any] = {
            "method": optuna.distributions.CategoricalDistribution(self._space.methods),
            "rate": optuna.distributions.FloatDistribution(*self._space.rates),
            "size": optuna.distributions.FloatDistribution(*self._space.sizes),
        }
        self.open: dict[int, Any] = {}
        self._first = list(first)
        self._guided, self._drawn = guided, 0
        self._expected = {arm: -place for place, arm in enumerate(pool.advice)}
        self._random = random.Random(seed)

    def ask(self) -> int:
        """Returns the run that is nearest to what TPE draws."""
        if self._first:
            return self._space.remove(self._first.pop(0))
        turn, self._drawn = self._drawn, self._drawn + 1
        if self._guided and turn % GUIDED == 0:
            drawn = [self._space.nearest(self._space.draw(self._random)) for _ in range(DRAWS)]
            return self._space.remove(max(drawn, key=lambda arm: self._expected.get(arm, -math.inf)))
        trial = self.study.ask(self._distributions)
        chosen = self._space.remove(self._space.nearest(Place(**trial.params)))
        self.open[chosen] = trial
        return chosen

    def tell(self, arm: int, readings: Mapping[int, float], *, finished: bool) -> None:
        """Adds a trial at the run's own place, as a search does that trains what it draws."""
        import optuna

        if arm in self.open:
            self.study.tell(self.open.pop(arm), state=optuna.trial.TrialState.FAIL)
        state = optuna.trial.TrialState.COMPLETE if finished else optuna.trial.TrialState.PRUNED
        self.study.add_trial(
            optuna.trial.create_trial(
                state=state,
                params=asdict(self._space.places[arm]),
                distributions=self._distributions,
                intermediate_values=dict(readings),
                value=readings[max(readings)],
            )
        )

    def begin(self, arm: int) -> Any:
        """Returns a running trial with the parameters of the run that was asked, for a pruner to judge."""
        import optuna

        self.study.tell(self.open.pop(arm), state=optuna.trial.TrialState.FAIL)
        self.study.enqueue_trial(asdict(self._space.places[arm]))
        return self.study.ask(self._distributions)


class AllocatedSampler:
    """Proposes given runs first, then those of a study per method, whose turns a race of the methods allots.

    In each round every method that is left proposes once; then the half with the better best first reading goes on.
    """

    def __init__(self, pool: Pool, seed: int, first: Sequence[int] = ()) -> None:
        """Opens a study in memory for each method."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._first = Space(pool), list(first)
        self._distributions: dict[str, Any] = {
            "rate": optuna.distributions.FloatDistribution(*self._space.rates),
            "size": optuna.distributions.FloatDistribution(*self._space.sizes),
        }
        self._studies = {
            method: optuna.create_study(
                sampler=optuna.samplers.TPESampler(seed=seed + place, n_startup_trials=FEW, multivariate=True)
            )
            for place, method in enumerate(self._space.methods)
        }
        self._best = dict.fromkeys(self._space.methods, math.inf)
        self._racing, self._round = list(self._space.methods), list[str]()

    def ask(self) -> int:
        """Returns the run nearest to what the study of the method whose turn it is draws."""
        import optuna

        if self._first:
            return self._space.remove(self._first.pop(0))
        if not self._round:
            ranked = sorted(self._racing, key=lambda method: (self._best[method], method))
            self._racing = ranked[: max(LEAST_RACING, len(ranked) // 2)] if self._drawn_all else ranked
            self._round = list(self._racing)
        method = self._round.pop(0)
        trial = self._studies[method].ask(self._distributions)
        self._studies[method].tell(trial, state=optuna.trial.TrialState.FAIL)  # what was run is added where it lies
        return self._space.remove(self._space.nearest(Place(method, **trial.params)))

    @property
    def _drawn_all(self) -> bool:
        return all(self._best[method] < math.inf for method in self._racing)

    def tell(self, arm: int, readings: Mapping[int, float], *, finished: bool) -> None:
        """Adds a trial at the run's own place to its method's study."""
        import optuna

        place = self._space.places[arm]
        self._best[place.method] = min(self._best[place.method], readings[min(readings)])
        self._studies[place.method].add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.COMPLETE if finished else optuna.trial.TrialState.PRUNED,
                params={"rate": place.rate, "size": place.size},
                distributions=self._distributions,
                intermediate_values=dict(readings),
                value=readings[max(readings)],
            )
        )


def _span(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def plain_tpe(seed: int) -> Any:
    """Returns Optuna's TPE as it comes."""
    import optuna

    return optuna.samplers.TPESampler(seed=seed)


def grouped_tpe(seed: int) -> Any:
    """Returns TPE as the search sets it up: multivariate, grouped, after a start per method tried."""
    import optuna

    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=8, multivariate=True, group=True)
