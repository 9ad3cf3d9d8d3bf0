"""Successive halving with promotions: who goes on from a reading, decided from outcomes alone.

Every trial stops at its first reading. The best third of those that were read there goes on to the next one, from
where it stopped; whoever is overtaken waits, and goes on when enough others have fallen behind it (asynchronous
successive halving, Li et al., arXiv 1810.05934).
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from autopeft.tuning.running import Running
from autopeft.values.outcomes import Measurement, TrialOutcome

REDUCTION = 3
"""One trial in so many goes on from each reading."""

READINGS = (0.12, 0.25, 0.5, 1.0)
"""Shares of a full trial at which it is read, unless it is short."""

SHORT_READINGS = (0.5, 1.0)
"""The same for short trials: of 80 steps, the first 20 promoted what starts fast (benchmarks/LOG.md, 2026-11-22)."""

FIRST_STEPS = 15
"""Optimizer steps that have to lie before the first reading, or a trial is short: it takes steps, not a share, until
losses tell trials apart. In the shortest of the others that were replayed, of 132 steps, there are 16."""

KEPT = 4
"""Trials per reading whose state is kept on disk; any other that is promoted after all begins anew."""

MOST_LOST = 2
"""A trial whose continuation took its process down so often is not continued again."""


def promotable(
    outcomes: Sequence[TrialOutcome], running: Sequence[Running] = (), beyond: Collection[int] = ()
) -> TrialOutcome | None:
    """Returns the trial that has earned its next reading, the furthest first; None where all must wait.

    The best at each reading goes on in any case, so that a search has a completed trial early.

    Args:
        outcomes: of the trials that ended.
        running: trials that others are running: they are ranked too, and what they continue is taken.
        beyond: numbers of trials that are ranked and cannot be continued here.
    """
    return _first_waiting(outcomes, running, beyond, lambda read: max(1, read // REDUCTION))


def best_waiting(
    outcomes: Sequence[TrialOutcome], running: Sequence[Running] = (), beyond: Collection[int] = ()
) -> TrialOutcome | None:
    """Returns the best of the trials that wait, the furthest first: what the last seconds of a search are for."""
    return _first_waiting(outcomes, running, beyond, lambda read: read)


def _first_waiting(
    outcomes: Sequence[TrialOutcome], running: Sequence[Running], beyond: Collection[int], places: Callable[[int], int]
) -> TrialOutcome | None:
    lost = Counter(o.continues for o in outcomes if o.status == "worker_lost" and o.continues is not None)
    taken = {other.continues for other in running}
    # What ran out of time takes nobody's place: it goes on no more, or is there as what it went on from.
    own = [o for o in outcomes if o.status != "timed_out" and (o.supersedes or o.continues is None)]
    here = [outcome for outcome in own if outcome.number not in taken]
    for position in reversed(range(_stopped(here))):
        ranked: list[tuple[float, int, TrialOutcome | None]] = [
            (*loss_at(outcome, position), outcome) for outcome in here if len(outcome.curve) > position
        ]
        ranked += [(other.losses[position], other.number, None) for other in running if len(other.losses) > position]
        ranked.sort(key=lambda entry: entry[:2])
        for _, number, outcome in ranked[: places(len(ranked))]:
            if outcome is None or outcome.status != "pruned" or len(outcome.curve) != position + 1:
                continue
            if lost[number] < MOST_LOST and number not in beyond:
                return outcome
    return None


def too_late(outcomes: Sequence[TrialOutcome], tokens: int, seconds_left: float) -> frozenset[int]:
    """Returns the numbers of the waiting trials that would not come to their end in time, at the pace they had.

    None before any trial has completed: until then every second is worth the try.

    Args:
        outcomes: of the trials that ended.
        tokens: of a full trial, in its first fold; those that follow may be left out.
        seconds_left: of the search.
    """
    if not any(outcome.status == "completed" for outcome in outcomes):
        return frozenset()
    waits = [outcome for outcome in outcomes if outcome.status == "pruned" and outcome.curve]
    return frozenset(outcome.number for outcome in waits if _rest(outcome.curve[-1], tokens) > seconds_left)


def _rest(reading: Measurement, tokens: int) -> float:
    return reading.seconds * (tokens / reading.tokens - 1)


def loss_at(outcome: TrialOutcome, position: int) -> tuple[float, int]:
    """Returns the validation loss of a reading, and the number of the trial, which breaks a tie."""
    return outcome.curve[position].validation_loss, outcome.number


def begun(outcomes: Sequence[TrialOutcome]) -> int:
    """Returns how many trials were begun: what was lost, or ran out of time going on, is not counted once more."""
    return sum(o.status != "worker_lost" and (o.supersedes or o.continues is None) for o in outcomes)


def waiting(outcomes: Sequence[TrialOutcome]) -> frozenset[int]:
    """Returns the numbers of the best trials that wait at each reading: those whose state is worth keeping."""
    found: set[int] = set()
    for position in range(_stopped(outcomes)):
        stopped = [o for o in outcomes if o.status == "pruned" and len(o.curve) == position + 1]
        found |= {o.number for o in sorted(stopped, key=lambda o: loss_at(o, position))[:KEPT]}
    return frozenset(found)


def _stopped(outcomes: Sequence[TrialOutcome]) -> int:
    """Returns how many readings the trial had that was stopped last of all; 0 where none was."""
    return max((len(outcome.curve) for outcome in outcomes if outcome.status == "pruned"), default=0)


def readings(steps: float) -> tuple[float, ...]:
    """Returns the shares at which a trial of so many optimizer steps is read."""
    return READINGS if READINGS[0] * steps >= FIRST_STEPS else SHORT_READINGS


def full_trials(count: int, shares: Sequence[float]) -> float:
    """Returns how many full trials' training so many started ones come to, when no more are started."""
    total, before = 0.0, 0.0
    for share in shares:
        total += count * (share - before)
        before, count = share, max(1, count // REDUCTION)
    return total
