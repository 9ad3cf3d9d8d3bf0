"""Who trains for a search: this process on its own device, or processes that train each trial together."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from autopeft.errors import StudyError
from autopeft.training.worker import Worker
from autopeft.tuning import member
from autopeft.tuning.budget import TrialSize
from autopeft.tuning.contest import Contest, OwnContest, Rehearsal, one_by_one, own_tfidf
from autopeft.tuning.cost import fitting_speed, measured_speed
from autopeft.tuning.folder import keep_states
from autopeft.tuning.gauge import Gauge
from autopeft.tuning.group import MOST_LOST_IN_A_ROW, Group, LostError
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.race import Performance
from autopeft.tuning.runner import Runner, Stops, TorchRunner
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Score, TrialOutcome
from autopeft.values.plans import Plan

T = TypeVar("T")


class Contests(Protocol):
    """Holds the comparison at the end of a search."""

    @property
    def at_once(self) -> int:
        """How many contenders are trained side by side."""
        ...

    def contest(self, plan: Plan, *, seconds: float, racing_rows: int) -> Contest:
        """Returns what trains the contenders at the end: see `autopeft.tuning.contest.OwnContest`."""
        ...

    def release(self) -> None:
        """Gives back the memory that is held for the next training, and ends what was started for it."""
        ...


class Trainer(Contests, Protocol):
    """Trains for one search."""

    def speed(self) -> float:
        """Returns training tokens per second of the first candidate, measured here; loads the weights."""
        ...

    def runner(self, size: TrialSize, states: Path) -> Runner:
        """Returns what runs the trials, the states of stopped ones kept in a folder."""
        ...


def trainer_of(prepared: Prepared) -> Trainer:
    """Returns who trains for a search."""
    return OwnTrainer(prepared) if prepared.team.alone else TeamTrainer(prepared)


class OwnTrainer:
    """Trains in this process, which keeps one base model loaded."""

    at_once = 1

    def __init__(self, prepared: Prepared, worker: Worker | None = None) -> None:
        """Prepares it; nothing is loaded yet, unless a worker is given that has its base."""
        self._prepared, self._worker = prepared, worker or prepared.worker()

    def speed(self) -> float:
        """Returns training tokens per second of the first candidate, measured here; loads the weights."""
        return measured_speed(self._prepared, self._worker)

    def runner(self, size: TrialSize, states: Path) -> Runner:
        """Returns what runs the trials, the states of stopped ones kept in a folder."""
        prepared = self._prepared
        gauge = Gauge(self._worker, prepared)
        return TorchRunner(self._worker, prepared.parts, prepared.objective, size, states, gauge)

    def contest(self, plan: Plan, *, seconds: float, racing_rows: int) -> Contest:
        """Returns what trains the contenders at the end."""
        prepared = self._prepared
        return OwnContest(
            self._worker, prepared.encoded, plan, prepared.objective, seconds=seconds, racing_rows=racing_rows
        )

    def release(self) -> None:
        """Gives the base model's memory back; the next training loads it anew."""
        self._worker.release()


class TeamTrainer:
    """Has everything trained by processes that each take their share of a batch, and under FSDP of the model."""

    at_once = 1

    def __init__(self, prepared: Prepared) -> None:
        """Prepares it; the processes start with the first training."""
        self._prepared, self._group = prepared, Group(prepared, member.environments(prepared))

    def speed(self) -> float:
        """Returns training tokens per second of all processes together."""
        # Processes that wait for each other must agree on the rows, so it is not theirs to take fewer.
        return fitting_speed(self._prepared, lambda candidate: float(_asked(self._group, member.speed, candidate)[0]))

    def runner(self, size: TrialSize, states: Path) -> Runner:
        """Returns what runs the trials, the states of stopped ones kept in a folder."""
        return TeamRunner(self._group, size, states)

    def contest(self, plan: Plan, *, seconds: float, racing_rows: int) -> Contest:
        """Returns what trains the contenders at the end."""
        return TeamContest(self._group, member.Terms(plan=plan, seconds=seconds, racing_rows=racing_rows))

    def release(self) -> None:
        """Ends the processes; the next training starts new ones."""
        self._group.close()


class TeamRunner:
    """Has a trial trained by a group; one that loses a process is lost, and the next one starts a new group."""

    def __init__(self, group: Group, size: TrialSize, states: Path) -> None:
        """Prepares the runner: see `autopeft.tuning.runner.TorchRunner`."""
        self._group, self._size, self._states = group, size, states
        self._lost = 0

    def run(
        self,
        number: int,
        candidate: Candidate,
        plan: Plan,
        stops: Stops,
        deadline: float,
        earlier: TrialOutcome | None,
    ) -> TrialOutcome:
        """Returns the outcome as the first process has it, with the largest peak of all.

        Raises:
            StudyError: a process was lost again and again.
        """
        trial = member.Trial(
            number=number, candidate=candidate, plan=plan, size=self._size, states=self._states, deadline=deadline,
            asked=time.monotonic(), earlier=earlier,
        )  # fmt: skip
        try:
            outcomes: list[TrialOutcome] = self._group.call(member.train, trial, answer=stops, last=_ran_out)
        except LostError as error:
            self._lost += 1
            if self._lost > MOST_LOST_IN_A_ROW:
                message = f"Processes that train together end again and again: {error}.\n{error.words}"
                raise StudyError(message) from error
            continues = earlier.number if earlier else None
            return TrialOutcome(
                number=number, status="worker_lost", candidate=candidate, reason=str(error), continues=continues
            )
        self._lost = 0
        peaks = [outcome.peak_bytes for outcome in outcomes if outcome.peak_bytes is not None]
        return replace(outcomes[0], peak_bytes=max(peaks, default=None))

    def keep(self, numbers: Collection[int]) -> None:
        """Removes the state of all stopped trials but these."""
        keep_states(self._states, numbers)


def _ran_out(outcome: TrialOutcome) -> bool:
    # The others wait for this one in the middle of a step, for ever.
    return outcome.status == "out_of_memory"


class TeamContest:
    """Has contenders trained by a group."""

    def __init__(self, group: Group, terms: member.Terms) -> None:
        """Prepares the contest."""
        self._group, self._terms = group, terms

    def together(self, calls: Sequence[Callable[[], T]], look: Callable[[], None]) -> list[T]:
        """Returns what each call returns, made one after the other: all processes train the same."""
        return one_by_one(calls, look)

    def race(self, candidate: Candidate, rates: Sequence[float]) -> Performance:
        """Returns the performance of the best of several learning rates: see `autopeft.tuning.race`."""
        found: Performance = self._contend(OwnContest.race, candidate, rates)
        return found

    def rehearse(self, candidate: Candidate, seed: int, folder: Path) -> Rehearsal:
        """Returns a candidate trained with a seed of its own, and leaves what it trained in a folder."""
        found: Rehearsal = self._contend(OwnContest.rehearse, candidate, seed, folder)
        return found

    def perform(self, rehearsal: Rehearsal, folder: Path) -> Performance:
        """Returns the performance of what `rehearse` left in a folder, trained once more where it is gone."""
        found: Performance = self._contend(OwnContest.perform, rehearsal, folder)
        return found

    def untuned(self, candidate: Candidate, seed: int) -> Score | None:
        """Returns the base's own test score: see `autopeft.tuning.references`."""
        found: Score | None = self._contend(OwnContest.untuned, candidate, seed)
        return found

    def tfidf(self, prepared: Prepared, seed: int) -> Score | None:
        """Returns the test score of TF-IDF on the texts of a search, fitted in the process that asks."""
        return own_tfidf(prepared, seed)

    def _contend(self, step: Callable[..., Any], *arguments: object) -> Any:
        return _asked(self._group, member.contend, self._terms, step, *arguments)[0]


def _asked(group: Group, function: member.Function, *arguments: object) -> list[Any]:
    try:
        return group.call(function, *arguments)
    except LostError as error:
        raise StudyError(f"A process of the search was lost: {error}. What is done is kept: --resume.") from error
