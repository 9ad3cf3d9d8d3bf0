"""The honest end of a search: its best few trained anew with fresh seeds, and chosen among by validation alone.

The best of many noisy trials is partly luck. So whoever validation cannot tell from the first is trained once more,
each with a seed that no trial has used. Both trainings together choose, each weighed by the rows that it was scored on:
what luck was in the first one lifted all finalists alike, and of folds it was scored on more rows. Only what the winner
has trained anew is asked for the test split.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from autopeft.errors import DivergedError, OutOfMemoryError, StudyError
from autopeft.training.scoring import Objective
from autopeft.tuning.compare import Comparison
from autopeft.tuning.contest import Rehearsal
from autopeft.tuning.pareto import indistinct
from autopeft.tuning.race import Performance
from autopeft.values.outcomes import Finalist, TrialOutcome

Rehearsed = tuple[TrialOutcome, Rehearsal]
"""A trial, and its configuration trained anew."""

MOST_FINALISTS = 3

SHARE = 0.25
"""Share of the search's seconds that the finalists' training may take; the first one is trained whatever it takes."""


@dataclass(frozen=True, kw_only=True)
class Final:
    """How the final ended."""

    winner: Performance
    chosen: TrialOutcome
    finalists: tuple[Finalist, ...]


def finalists(ranked: Sequence[TrialOutcome], seconds: float, at_once: int = 1) -> list[TrialOutcome]:
    """Returns who is trained anew: the first, and who lies within one standard error of its score; at most three.

    Args:
        ranked: the completed trials, best first.
        seconds: of the search; with the second and the third, training may take a quarter of them.
        at_once: how many are trained side by side, each in the time of one.
    """
    first, *others = ranked
    chosen, spent = [first], _training_seconds(first)
    for outcome in others:
        gap = (first.score or 0.0) - (outcome.score or 0.0)
        spent += _training_seconds(outcome)
        if len(chosen) == MOST_FINALISTS or gap > indistinct(first, outcome) or spent > SHARE * seconds * at_once:
            break
        chosen.append(outcome)
    return chosen


def _training_seconds(outcome: TrialOutcome) -> float:
    return outcome.curve[-1].seconds if outcome.curve else 0.0


def hold_final(
    comparison: Comparison,
    chosen: Sequence[TrialOutcome],
    reserve: Sequence[TrialOutcome],
    objective: Objective,
    seed: int,
    trial_rows: int,
) -> Final:
    """Returns the winner of the final: trained anew, the best on validation, and only then scored on test.

    Arguments and errors are those of `rehearse` and `best_of`.
    """
    rehearsed = rehearse(comparison, chosen, reserve, seed)
    told = [
        Finalist(
            number=outcome.number,
            config=rehearsal.candidate,
            trial_score=objective.signed(outcome.score or 0.0),
            validation=comparison.validated(rehearsal),
        )
        for outcome, rehearsal in rehearsed
    ]
    outcome, rehearsal = best_of(rehearsed, objective, trial_rows)
    winner = comparison.performed(f"winner-{outcome.number}", rehearsal, _name(outcome))
    for trained, _ in rehearsed:
        shutil.rmtree(comparison.folder / _name(trained), ignore_errors=True)
    return Final(winner=winner, chosen=outcome, finalists=tuple(told))


def rehearse(
    comparison: Comparison,
    chosen: Sequence[TrialOutcome],
    reserve: Sequence[TrialOutcome],
    seed: int,
) -> list[Rehearsed]:
    """Returns who came to the end of a fresh training, in order; the test split is not touched.

    Args:
        comparison: trains and scores.
        chosen: the trials whose configurations are trained anew.
        reserve: who comes after them, one by one, where all of them diverge.
        seed: the first that no trial has used; each finalist takes the next one.

    Raises:
        StudyError: every configuration diverged, or ran out of memory, when it was trained anew.
    """
    rehearsed = _rehearsed(comparison, chosen, seed)
    for place, outcome in enumerate(reserve, start=len(chosen)):
        if rehearsed:
            break
        rehearsed = _rehearsed(comparison, [outcome], seed + place)
    if not rehearsed:
        raise StudyError(
            "Every completed trial diverged or ran out of memory when it was trained anew.\n"
            "Lower the learning rates in files of your own, with --search-spaces, or --memory."
        )
    return rehearsed


def best_of(rehearsed: Sequence[Rehearsed], objective: Objective, trial_rows: int) -> Rehearsed:
    """Returns who is best on validation over both trainings, the first of equals.

    Args:
        rehearsed: from `rehearse`.
        objective: the metric that decides.
        trial_rows: on which each trial was scored.
    """

    def both(each: Rehearsed) -> float:
        outcome, rehearsal = each
        rows = len(rehearsal.validation.expected)
        fresh = objective.signed(objective.metric(rehearsal.validation))
        return (trial_rows * (outcome.score or 0.0) + rows * fresh) / (trial_rows + rows)

    return max(rehearsed, key=both)


def _rehearsed(comparison: Comparison, outcomes: Sequence[TrialOutcome], seed: int) -> list[Rehearsed]:
    """Returns who came to its end; who diverges under another seed, or no longer fits, is no winner."""

    def asked(outcome: TrialOutcome, own_seed: int) -> Rehearsal | None:
        comparison.begins(f"Training trial {outcome.number} anew with a fresh seed")
        try:
            return comparison.rehearsed(_name(outcome), outcome.candidate, own_seed)
        except (DivergedError, OutOfMemoryError):
            return None

    ended = comparison.together([partial(asked, outcome, seed + place) for place, outcome in enumerate(outcomes)])
    return [(outcome, rehearsal) for outcome, rehearsal in zip(outcomes, ended, strict=True) if rehearsal is not None]


def _name(outcome: TrialOutcome) -> str:
    return f"finalist-{outcome.number}"
