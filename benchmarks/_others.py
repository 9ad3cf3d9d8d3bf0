"""Other searches on recorded runs: without pruning, with stopping rules, and Optuna's own TPE with Hyperband."""

import bisect
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from autopeft.tuning.race import RACE_SHARES
from benchmarks._arms import Arm, Pool
from benchmarks._ours import Clock, RecordedRunner
from benchmarks._samplers import Sampler, TpeSampler, plain_tpe

OPTUNA_STEPS = 20
"""Reports per trial to Optuna's pruner, as many as the published curves have."""


@dataclass
class Trace:
    """What a search had picked when: the best completed run by its score, before that the best of the furthest."""

    moments: list[float] = field(default_factory=list)
    picks: list[Arm] = field(default_factory=list)
    _best: tuple[float, float] = (-1.0, float("-inf"))

    def add(self, moment: float, arm: Arm, reached: float, rank: float) -> None:
        """Notes that a run came to a share of its budget; ``rank`` orders those that came as far, higher better."""
        if (reached, rank) > self._best:
            self._best = (reached, rank)
            self.moments.append(moment)
            self.picks.append(arm)

    def at(self, seconds: float) -> Arm | None:
        """Returns the pick after so many seconds."""
        position = bisect.bisect_right(self.moments, seconds)
        return self.picks[position - 1] if position else None


Rule = Callable[[int, float], bool]
"""Receives the position of a reading and its value, and answers whether the run stops there."""


def never() -> Rule:
    """Returns the rule that stops nothing."""

    def stops(_position: int, _value: float) -> bool:
        return False

    return stops


def best_third(reduction: int = 3) -> Rule:
    """Returns stopping-type ASHA: a run goes on while it is in the best third of those read there so far."""
    seen: dict[int, list[float]] = defaultdict(list)

    def stops(position: int, value: float) -> bool:
        bisect.insort(seen[position], value)
        places = max(1, len(seen[position]) // reduction)
        return value > seen[position][places - 1]

    return stops


def median(grace: int = 5) -> Rule:
    """Returns the median rule: a run stops that is worse than the median of those read there so far."""
    seen: dict[int, list[float]] = defaultdict(list)

    def stops(position: int, value: float) -> bool:
        before = seen[position]
        stopped = len(before) >= grace and value > before[len(before) // 2]
        bisect.insort(before, value)
        return stopped

    return stops


def play(
    pool: Pool, sampler: Sampler, rule: Rule, seconds: float, *, shares: Sequence[float], signal: str, seed: int
) -> Trace:
    """Returns what a search without promotions picked when; a run that is stopped never goes on."""
    clock, trace = Clock(), Trace()
    runner = RecordedRunner(pool, signal, clock, seed)
    for _ in pool.arms:
        if clock.now >= seconds:
            break
        position = sampler.ask()
        arm, readings = pool.arms[position], {}
        for step, share in enumerate(shares):
            clock.now += arm.seconds * (share - (shares[step - 1] if step else 0.0))
            readings[step] = arm.reading(signal, share)
            if share < 1:
                trace.add(clock.now, arm, share, -readings[step])
                if rule(step, readings[step]):
                    break
            else:
                trace.add(clock.now, arm, 1.0, runner.score(arm))
        sampler.tell(position, readings, finished=len(readings) == len(shares))
    return trace


def race(pool: Pool, rates: Sequence[float], *, signal: str, seed: int) -> Trace:
    """Returns what a race of a pool's first runs picked when: the better half goes on at a quarter and at a half.

    Args:
        pool: recorded runs; one that does not begin with the rates in their order has no race.
        rates: learning rates of one method.
        signal: that the race is decided by.
        seed: of the noise of the final score.
    """
    standing, trace, clock = list(pool.arms[: len(rates)]), Trace(), Clock()
    if not has_race(pool, rates):
        return trace
    runner, before = RecordedRunner(pool, signal, clock, seed), 0.0
    for share in RACE_SHARES:
        for arm in standing:
            clock.now += arm.seconds * (share - before)
            final = share == 1
            trace.add(clock.now, arm, share, runner.score(arm) if final else -arm.reading(signal, share))
        standing.sort(key=lambda arm, share=share: arm.reading(signal, share))  # type: ignore[misc]
        standing, before = standing[: max(1, len(standing) // 2)], share
    return trace


def has_race(pool: Pool, rates: Sequence[float]) -> bool:
    """Whether a pool begins with one method at these learning rates, as a pool of our own does."""
    first = pool.arms[: len(rates)]
    return [arm.learning_rate for arm in first] == list(rates) and len({arm.method for arm in first}) == 1


def optuna_hyperband(pool: Pool, seconds: float, *, signal: str, seed: int) -> Trace:
    """Returns what plain Optuna picked when: TPE and Hyperband as they come, a report at each twentieth."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=OPTUNA_STEPS, reduction_factor=3)
    # Hyperband puts trials into brackets by the study's name, so the name fixes them.
    study = optuna.create_study(sampler=plain_tpe(seed), pruner=pruner, study_name=f"replay {seed}")
    sampler = TpeSampler(pool, seed, plain_tpe, study)
    clock, trace = Clock(), Trace()
    runner = RecordedRunner(pool, signal, clock, seed)
    for _ in pool.arms:
        if clock.now >= seconds:
            break
        position = sampler.ask()
        arm, trial = pool.arms[position], sampler.begin(position)
        _settle(study, trial, _train(arm, trial, signal, clock, trace, runner.score(arm)))
    return trace


def _train(arm: Arm, trial: Any, signal: str, clock: Clock, trace: Trace, score: float) -> float | None:
    """Returns the last reading, None where the pruner stopped the run."""
    for step in range(1, OPTUNA_STEPS + 1):
        share = step / OPTUNA_STEPS
        clock.now += arm.seconds / OPTUNA_STEPS
        value = arm.reading(signal, share)
        trial.report(value, step)
        if step < OPTUNA_STEPS:
            trace.add(clock.now, arm, share, -value)
            if trial.should_prune():
                return None
    trace.add(clock.now, arm, 1.0, score)
    return value


def _settle(study: Any, trial: Any, value: float | None) -> None:
    import optuna

    if value is None:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        study.tell(trial, value)
