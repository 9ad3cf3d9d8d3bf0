"""The comparison at the end: the winner and its baselines trained alike, scored on the untouched test split."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import get_ident
from typing import TypeVar

from autopeft.files import parse, plain, read_json, to_json, write_text
from autopeft.methods import baseline
from autopeft.training.scoring import Objective, difference, score
from autopeft.tuning.contest import Contest, Rehearsal
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.race import Performance
from autopeft.values.candidates import Candidate, with_rows
from autopeft.values.outcomes import Contender, Difference, Score

T = TypeVar("T")

ROWS = 16
"""Rows per optimizer step of the default recipe."""

RACED_RATES = (1e-4, 3.1e-4, 9.65e-4, 3e-3)
"""Four learning rates from 1e-4 to 3e-3, evenly spaced in the logarithm."""


class Comparison:
    """Compares contenders that one contest trains, and keeps each performance in a file."""

    def __init__(
        self, contest: Contest, objective: Objective, seed: int, folder: Path,
        tell: Callable[[str], None] = lambda _phase: None,
    ) -> None:  # fmt: skip
        """Prepares the comparison.

        Args:
            contest: trains.
            objective: the metric that decides.
            seed: of the intervals.
            folder: finished performances are kept here, so that a killed comparison goes on.
            tell: is told what begins, in this thread.
        """
        self._tell, self._owner, self._begun = tell, get_ident(), SimpleQueue[str]()
        self._contest, self._objective, self._seed, self.folder = contest, objective, seed, folder

    def together(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Returns what each call returns, in order; what they train is trained at the same time where it can be."""
        found = self._contest.together(calls, self._say)
        self._say()
        return found

    def begins(self, phase: str) -> None:
        """Has it told that a part of the comparison begins."""
        self._begun.put(phase)
        self._say()

    def _say(self) -> None:
        # Who watches a search in a notebook, or in a terminal, is not made for several threads.
        while get_ident() == self._owner and not self._begun.empty():
            self._tell(self._begun.get())

    def single(self, name: str, candidate: Candidate) -> Performance:
        """Returns a candidate's performance after the plan's budget."""
        return self.raced(name, candidate, (candidate.learning_rate,))

    def raced(self, name: str, candidate: Candidate, rates: Sequence[float] = RACED_RATES) -> Performance:
        """Returns the performance of the best of several learning rates, halved at a quarter and half the budget."""

        def asked(found: Performance) -> bool:
            config = found.candidate
            trained = replace(candidate, learning_rate=config.learning_rate, layer_indices=config.layer_indices)
            return config == trained and config.learning_rate in rates

        return self._kept(name, Performance, lambda: self._contest.race(candidate, rates), asked)

    def rehearsed(self, name: str, candidate: Candidate, seed: int) -> Rehearsal:
        """Returns a candidate trained for the plan's budget with a seed of its own; the test split is not touched."""
        return self._kept(name, Rehearsal, lambda: self._contest.rehearse(candidate, seed, self.folder / name))

    def performed(self, name: str, rehearsal: Rehearsal, rehearsed_as: str) -> Performance:
        """Returns a rehearsed finalist's performance: what it trained is put back, and asked for the test split."""
        return self._kept(name, Performance, lambda: self._contest.perform(rehearsal, self.folder / rehearsed_as))

    def untuned(self, candidate: Candidate, seed: int) -> Score | None:
        """Returns the test score of the base without fine-tuning, None where there is none."""
        return self._contest.untuned(candidate, seed)

    def tfidf(self, prepared: Prepared, seed: int) -> Score | None:
        """Returns the test score of TF-IDF with logistic regression, None where there is none."""
        return self._contest.tfidf(prepared, seed)

    def validated(self, rehearsal: Rehearsal) -> Score:
        """Returns a rehearsed finalist's validation score with its interval."""
        return score(rehearsal.validation, self._objective, self._seed)

    def _kept(
        self, name: str, kind: type[T], make: Callable[[], T], asked: Callable[[T], bool] = lambda _kept: True
    ) -> T:
        """Returns what was kept under a name where it is what was asked for, else what is made now."""
        path = self.folder / f"{name}.json"
        if path.exists() and asked(kept := parse(kind, read_json(path), str(path))):
            return kept
        made = make()
        write_text(path, to_json(plain(made)))
        return made

    def contender(self, performance: Performance) -> Contender:
        """Returns a performance with its scores and their intervals."""
        return Contender(
            config=performance.candidate,
            validation=score(performance.validation, self._objective, self._seed),
            test=score(performance.test, self._objective, self._seed),
            tokens=performance.tokens,
            seconds=performance.seconds,
        )

    def difference(self, winner: Performance, other: Performance) -> Difference:
        """Returns the winner minus the other on the test split, paired by row."""
        return difference(winner.test, other.test, self._objective, self._seed)


def default_recipe(winner: Candidate) -> Candidate:
    """Returns the recipe that nearly everybody uses, on the winner's base: same quantization, dtype and micro-batch."""
    method, recipe = baseline("default")
    recipes = replace(
        winner,
        method=method,
        parameters=dict(recipe.parameters),
        targets=recipe.targets,
        layers="all",
        layer_indices=None,
        optimizer="adamw",
        schedule=Candidate.schedule,
        learning_rate=recipe.learning_rate,
    )
    return with_rows(recipes, ROWS, winner.batch_size)
