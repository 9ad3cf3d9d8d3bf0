"""The comparison at the end, its trainings side by side: each in a process of its own."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any, TypeVar

from autopeft.errors import DivergedError, OutOfMemoryError, StudyError, UndefinedScoreError
from autopeft.training.checkpoint import load_state, save_state
from autopeft.tuning import member
from autopeft.tuning.contest import OwnContest, Rehearsal, own_tfidf
from autopeft.tuning.folder import storage_errors
from autopeft.tuning.group import Group, LostError
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.race import Fallen, Lap, Performance, run_race
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Score

T = TypeVar("T")

EXPECTED = (DivergedError, OutOfMemoryError, UndefinedScoreError)
"""What a training may come to; whoever asked for it goes on without."""

LOOK_SECONDS = 0.5
"""Between two looks at what has begun, for whoever is told."""


class CrewContest:
    """Has contenders trained by whichever process is free; one that is killed is not asked again."""

    def __init__(self, groups: Sequence[Group], terms: member.Terms, folder: Path) -> None:
        """Prepares the contest.

        Args:
            groups: of one process each.
            terms: on which all train.
            folder: for the states between the laps of a race.
        """
        self._terms, self._folder, self._groups = terms, folder, list(groups)
        self._free: SimpleQueue[Group | None] = SimpleQueue()
        for group in groups:
            self._free.put(group)
        self._left, self._lock, self._states = len(self._groups), Lock(), count()
        self._cause: BaseException | None = None

    def together(self, calls: Sequence[Callable[[], T]], look: Callable[[], None]) -> list[T]:
        """Returns what each call returns, in order, all made at once; the first error ends what the others train."""
        with ThreadPoolExecutor(max(1, len(calls))) as threads:
            try:
                asked = [threads.submit(call) for call in calls]
                while (seen := wait(asked, timeout=LOOK_SECONDS, return_when=FIRST_EXCEPTION)).not_done:
                    for one in seen.done:
                        one.result()
                    look()
                return [one.result() for one in asked]
            except BaseException as error:  # noqa: BLE001 - raised again, or what came before it
                cause = self._end(error)
                raise cause from cause.__cause__

    def race(self, candidate: Candidate, rates: Sequence[float]) -> Performance:
        """Returns the performance of the best of several learning rates: see `autopeft.tuning.race`."""
        return run_race(self, candidate, rates, self._terms.seconds)

    def laps(self, field: Sequence[tuple[Candidate, Path | None]], share: float, seconds: float) -> list[Lap]:
        """Returns what came of a lap of each, from its state to a share of the budget, each with its part of the time.

        One that does not fit ends no more than the race, which may be run again with half the rows at once.
        """

        def lap(candidate: Candidate, before: Path | None) -> Lap:
            after = self._folder / f"{next(self._states)}.safetensors"
            found: Lap = self._contend(_lap, candidate, before, after, share, seconds / len(field))
            return found

        # No more than can train at once, so that no other begins once one has failed.
        with ThreadPoolExecutor(min(len(field), len(self._groups))) as threads:
            asked = [threads.submit(lap, *entered) for entered in field]
            ended = wait(asked, return_when=FIRST_EXCEPTION).done
            for one in asked:
                one.cancel()
            for one in ended:
                one.result()
            return [one.result() for one in asked]

    def home(self, candidate: Candidate, state: Path | None, seconds: float) -> Performance | Fallen:
        """Returns the performance at the end of the budget; one whose time is up is scored as it stands."""
        found: Performance | Fallen = self._contend(_home, candidate, state, seconds)
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
        """Returns the test score of TF-IDF on the texts of a search, which its processes have too."""
        del prepared
        # Not in a thread of this process: nothing could break that off.
        found: Score | None = self._ask(_tfidf, seed)
        return found

    def _contend(self, step: Callable[..., Any], *arguments: object) -> Any:
        """Returns what a step of `OwnContest` comes to."""
        return self._ask(member.contend, self._terms, step, *arguments)

    def _ask(self, function: member.Function, *arguments: object) -> Any:
        """Returns what a function returns in the first process that is free, in another one where that is killed."""
        while True:
            group = self._free.get()
            if self._cause is not None or group is None:
                self._free.put(None)  # whoever else waits is to hear of it too
                raise self._cause or RuntimeError("Nobody is left to train.")
            try:
                found = group.call(_met_or_made, function, *arguments)[0]
            except LostError as error:
                self._lose(error)
                continue
            except BaseException as error:  # noqa: BLE001 - raised again, or what came before it
                cause = self._end(error)
                raise cause from cause.__cause__
            self._free.put(group)
            if isinstance(found, _Met):
                raise found.error
            return found

    def _lose(self, error: LostError) -> None:
        """Counts a process that was killed; the last one ends the contest."""
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            said = f"All processes that compare were lost: {error}. What is done is kept: --resume.\n{error.words}"
            lost = StudyError(said.rstrip())
            lost.__cause__ = error
            self._end(lost)

    def _end(self, error: BaseException) -> BaseException:
        """Ends all processes, and returns the error that was the first to ask for it."""
        with self._lock:
            self._cause = self._cause or error
        self._free.put(None)
        for group in self._groups:
            group.kill()
        return self._cause


@dataclass(frozen=True, kw_only=True)
class _Met:
    """The error that a step is expected to meet now and then: its process goes on."""

    error: Exception


def _tfidf(here: member.Here, seed: int) -> Score | None:
    return own_tfidf(here.prepared, seed)


def _met_or_made(here: member.Here, function: member.Function, *arguments: Any) -> Any:
    """Returns what a function comes to in this process."""
    try:
        with storage_errors("the output folder"):
            return function(here, *arguments)
    except EXPECTED as error:
        return _Met(error=type(error)(str(error)))


def _lap(
    contest: OwnContest, candidate: Candidate, before: Path | None, after: Path, share: float, seconds: float
) -> Lap:
    """Returns what came of a lap, its states in files."""
    lap = contest.lap(candidate, None if before is None else load_state(before), share, seconds)
    if lap.state is not None:
        save_state(lap.state, after)
    return replace(lap, state=None if lap.state is None else after)


def _home(contest: OwnContest, candidate: Candidate, state: Path | None, seconds: float) -> Performance | Fallen:
    return contest.home(candidate, None if state is None else load_state(state), seconds)
