"""The Optuna study behind a search: proposals in, outcomes back, and what a killed process left behind.

Any number of processes, on one machine or many, may hold the same study open. Whatever is decided from a study and
changes it, is done while the process holds the study alone (`TrialStudy.exclusive`), so that no trial is begun or
continued twice. A process may be killed at any instruction: what it had open is settled by `recover`.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from autopeft.errors import StudyError
from autopeft.files import parse, plain
from autopeft.tuning.folder import Settings
from autopeft.tuning.heartbeat import Heart
from autopeft.tuning.proposal import Proposal
from autopeft.tuning.running import Running
from autopeft.tuning.storage import Storage, open_storage, read_storage
from autopeft.tuning.stored import (
    CONTINUES,
    INTERRUPTED,
    OUTCOME,
    WORKER,
    drawn,
    lost_outcome,
    place_of,
    running,
    sampler,
    state_of,
    stored_outcome,
)
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Measurement, TrialOutcome

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

NAME = "autopeft"

_RETRY = "retry"
_SPENT = "seconds"
_WORKER_SECONDS = "worker_seconds"
_SETTINGS = "settings"

LOST, SILENT = "the process ended during the trial", "no sign of life from its worker"


def _nothing() -> None:
    """Guards nothing."""


class TrialStudy:
    """One search's study: every change is durable before the next trial starts."""

    def __init__(
        self,
        where: Path | Storage,
        proposal: Proposal,
        *,
        seed: int,
        name: str = NAME,
        place: str = "",
        guard: Callable[[], None] = _nothing,
    ) -> None:
        """Opens the study, or makes it where it is new.

        Args:
            where: the SQLite file, or an opened storage.
            proposal: the spaces that candidates are drawn from.
            seed: trial k samples from ``seed + k``, so that a resumed search proposes what an unbroken one would.
            name: of the study in its storage.
            place: names the output folder whose states this process sees, where several machines share a study.
            guard: called whenever the study has been taken for a change; it may end the process.

        Raises:
            StudyError: the file is not a study or cannot be written.
        """
        import optuna
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = open_storage(where) if isinstance(where, Path) else where
        self._proposal, self._seed = proposal, seed
        self._place, self._guard, self._holding = place, guard, False
        self._ended: dict[int, TrialOutcome] = {}
        self._seen: list[FrozenTrial] | None = None
        try:
            with self.exclusive():
                self._study = self._opened(name)
        except (StorageInternalError, SQLAlchemyError) as error:
            raise StudyError(f"{self._storage.name} cannot be opened as a study: {error}") from error
        self._heart = Heart(self._storage)

    def _opened(self, name: str) -> "Study":
        import optuna

        if self._storage.read_only:
            return optuna.load_study(study_name=name, storage=self._storage.optuna)
        return optuna.create_study(
            storage=self._storage.optuna, study_name=name, direction="minimize", load_if_exists=True
        )

    @property
    def place(self) -> str:
        """The output folder of this process, where several machines share the study."""
        return self._place

    @property
    def shared(self) -> bool:
        """Whether several machines may work on it."""
        return self._storage.shared

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Holds the study alone while the context lasts; it may be entered again inside."""
        if self._holding:
            yield
            return
        with self._storage.held():
            self._holding, self._seen = True, None
            try:
                self._guard()
                yield
            finally:
                self._holding, self._seen = False, None

    def enqueue(self, candidates: Sequence[Candidate]) -> None:
        """Puts candidates in the queue, in order, those left out that are in it or have run."""
        with self.exclusive():
            for candidate in candidates:
                self._study.enqueue_trial(self._proposal.fixed(candidate), skip_if_exists=True)
            self._seen = None

    def agree(self, settings: Settings | None = None) -> Settings | None:
        """Returns the settings that all workers of a shared study go by: the first ones that were given."""
        with self.exclusive():
            held = self._study.user_attrs.get(_SETTINGS)
            if held is not None:
                return parse(Settings, held, self._storage.name)
            if settings is not None:
                self._study.set_user_attr(_SETTINGS, plain(settings))
            return settings

    def recover(self, *, restarted: bool = False) -> int:
        """Settles the trials that lost processes left open, and returns how many were lost.

        A trial whose outcome was stored is finished with it; any other is recorded as ``worker_lost`` and put in the
        queue once more, unless it was already a second try. In a file that is every open trial: call this while no
        worker runs. In a database it is those whose worker has been silent for too long, and those of this place when
        it is ``restarted``; they are marked then, since nobody knows how long before that they had ended.
        """
        with self.exclusive():
            own = {self._place} if restarted else set()
            gone = [t for t in self._trials("RUNNING") if self._is_gone(t) or place_of(t) in own]
            lost = sum(self._settle(trial, LOST, interrupted=restarted) for trial in gone)
            lost += sum(self._settle(trial, SILENT) for trial in self._silent())
            self._repeat()
        return lost

    def lose(self, process: int, reason: str) -> int:
        """Settles the trials that a process of this place left open when it ended, and returns how many were lost."""
        with self.exclusive():
            owner = {"place": self._place, "process": process}
            gone = [t for t in self._trials("RUNNING") if t.user_attrs.get(WORKER, owner) == owner]
            lost = sum(self._settle(trial, reason) for trial in gone)
            self._repeat()
        return lost

    def give_up(self, trial: "Trial", reason: str) -> None:
        """Settles a trial of this process whose work was lost elsewhere."""
        with self.exclusive():
            self._heart.end(trial._trial_id)
            for other in self._trials("RUNNING"):
                if other.number == trial.number:
                    self._settle(other, reason)
            self._repeat()

    def _is_gone(self, trial: "FrozenTrial") -> bool:
        # Whoever holds the study sees no trial half claimed, unless its process died there.
        return not self._storage.shared or OUTCOME in trial.user_attrs or WORKER not in trial.user_attrs

    def _silent(self) -> list["FrozenTrial"]:
        """Returns the open trials of a shared study whose workers have been silent for too long."""
        if not self._storage.shared:
            return []
        stale = set(self._storage.optuna._get_stale_trial_ids(self._study._study_id))
        return [trial for trial in self._trials("RUNNING") if trial._trial_id in stale]

    def _settle(self, trial: "FrozenTrial", reason: str, *, interrupted: bool = False) -> bool:
        """Closes an open trial whose process has ended, and returns whether it was lost.

        Args:
            trial: the open trial.
            reason: why it was lost, where it was.
            interrupted: whether the search stood still since; a trial that is closed takes no further mark.
        """
        import optuna

        open_ = optuna.trial.Trial(self._study, trial._trial_id)
        if interrupted:
            open_.set_user_attr(INTERRUPTED, value=True)
        if OUTCOME in trial.user_attrs:
            self._close(trial.number, stored_outcome(trial))
            return False
        outcome = lost_outcome(trial, self._proposal, reason)
        if outcome is not None:
            open_.set_user_attr(OUTCOME, plain(outcome))
        self._study.tell(trial.number, state=state_of("worker_lost"))
        self._seen = None
        return True

    def _repeat(self) -> None:
        """Puts each lost trial in the queue that began anew, was no second try and has none."""
        trials = self._all()
        repeated = {trial.user_attrs.get(_RETRY) for trial in trials}
        for trial in trials:
            lost = trial.state.name == "FAIL" and not {_RETRY, CONTINUES} & trial.user_attrs.keys()
            # What was continued still waits where it stopped, so a lost continuation has nothing to repeat.
            if lost and trial.number not in repeated and self._proposal.complete(drawn(trial)):
                self._study.enqueue_trial(drawn(trial), user_attrs={_RETRY: trial.number})
        self._seen = None

    def _all(self) -> list["FrozenTrial"]:
        """Returns all trials; while this process holds the study they are read again only after it has changed them."""
        if self._seen is not None:
            return self._seen
        trials = self._study.get_trials(deepcopy=False)
        if self._holding:
            self._seen = trials
        return trials

    def _trials(self, state: str) -> list["FrozenTrial"]:
        return [trial for trial in self._all() if trial.state.name == state]

    @property
    def trials(self) -> tuple["FrozenTrial", ...]:
        """All trials as Optuna has them, by number."""
        return tuple(self._all())

    @property
    def queued(self) -> bool:
        """Whether a trial waits that nobody has begun."""
        return bool(self._trials("WAITING"))

    @property
    def running(self) -> tuple[Running, ...]:
        """The trials that are being run now, by any process."""
        return tuple(running(trial, self._proposal) for trial in self._trials("RUNNING"))

    def elsewhere(self) -> frozenset[int]:
        """Returns the numbers of the trials whose state lies in another place, where a trial is being run now."""
        alive = {running.place for running in self.running} - {self._place}
        return frozenset(trial.number for trial in self._all() if place_of(trial) in alive) if alive else frozenset()

    def ask(self) -> tuple["Trial", Candidate]:
        """Returns the next trial and its candidate."""
        with self.exclusive():
            number = len(self._all())
            if not self.queued and (chosen := self._proposal.promising(number, self._seed + number, self._slow())):
                self._study.enqueue_trial(chosen)
            self._study.sampler = sampler(self._seed + number, len(self._proposal.spaces))
            with warnings.catch_warnings():
                # Optuna gives signs of life only within `Study.optimize`; here the heart does.
                warnings.filterwarnings("ignore", message="Heartbeat of storage")
                trial = self._study.ask()
            candidate = self._proposal.draw(trial)
            self._claim(trial)
        return trial, candidate

    def _slow(self) -> frozenset[str]:
        """Returns the methods that took too long on this machine, and never came to an end."""
        own = self.own()
        ended = {outcome.candidate.method for outcome in own if outcome.status == "completed"}
        return frozenset(outcome.candidate.method for outcome in own if outcome.too_slow) - ended

    def ask_again(self, earlier: TrialOutcome) -> tuple["Trial", Candidate]:
        """Returns a trial that goes on from an earlier one: the same candidate, its readings reported already."""
        import optuna

        with self.exclusive():
            before = self._all()[earlier.number]
            # It begins at once, past the queue, which `Study.ask` would serve first.
            self._study.add_trial(
                optuna.trial.create_trial(
                    state=optuna.trial.TrialState.RUNNING,
                    params=before.params,
                    distributions=before.distributions,
                    user_attrs={CONTINUES: earlier.number},
                    intermediate_values={k: reading.validation_loss for k, reading in enumerate(earlier.curve)},
                )
            )
            self._seen = None
            trial = optuna.trial.Trial(self._study, self._all()[-1]._trial_id)
            self._claim(trial)
        return trial, earlier.candidate

    def _claim(self, trial: "Trial") -> None:
        """Makes an open trial this process's: it has a first sign of life before it has an owner."""
        self._heart.begin(trial._trial_id)
        trial.set_user_attr(WORKER, {"place": self._place, "process": os.getpid()})
        self._seen = None

    def is_open(self, trial: "Trial") -> bool:
        """Returns whether a trial is still this process's: others give up one that was silent for too long."""
        return any(other.number == trial.number for other in self._trials("RUNNING"))

    def report(self, trial: "Trial", reading: Measurement, position: int) -> None:
        """Records a reading, from which the sampler learns; one that was recorded already stays as it is.

        Args:
            trial: from `ask` or `ask_again`.
            reading: its measurement.
            position: of the reading among the trial's, from 0.
        """
        if position not in self._all()[trial.number].intermediate_values:
            trial.report(reading.validation_loss, step=position)
            self._seen = None

    def tell(self, trial: "Trial", outcome: TrialOutcome) -> None:
        """Stores a trial's outcome; once stored it survives whatever comes.

        The outcome of a trial that was given up as lost meanwhile is dropped: it is being run again.
        """
        with self.exclusive():
            self._heart.end(trial._trial_id)
            if self.is_open(trial):
                trial.set_user_attr(OUTCOME, plain(outcome))
                self._close(trial.number, outcome)

    def _close(self, number: int, outcome: TrialOutcome) -> None:
        value = outcome.curve[-1].validation_loss if outcome.status == "completed" else None
        self._study.tell(number, value, state=state_of(outcome.status))
        self._seen = None

    def outcomes(self) -> tuple[TrialOutcome, ...]:
        """Returns the outcomes of all trials that ended, by number; one that was continued is left out.

        Who was lost, or ran out of time, while going on has not replaced what it went on from.
        """
        found = [o for trial in self._all() if (o := self._ended_as(trial)) is not None]
        continued = {outcome.continues for outcome in found if outcome.supersedes}
        return tuple(outcome for outcome in found if outcome.number not in continued)

    def _ended_as(self, trial: "FrozenTrial") -> TrialOutcome | None:
        """Returns the outcome of a trial, None for one that has not ended; a finished trial never changes."""
        known = self._ended.get(trial.number)
        if known is None and OUTCOME in trial.user_attrs:
            known = stored_outcome(trial)
        if known is not None and trial.state.is_finished():
            self._ended[trial.number] = known
        return known

    def own(self) -> tuple[TrialOutcome, ...]:
        """Returns the outcomes of the trials that were run in this place."""
        places = {trial.number: place_of(trial) for trial in self._all()}
        return tuple(outcome for outcome in self.outcomes() if places[outcome.number] == self._place)

    @property
    def busy(self) -> bool:
        """Whether a trial is being run in this place."""
        return any(running.place == self._place for running in self.running)

    @property
    def alone(self) -> bool:
        """Whether no trial is being run in another place."""
        return all(running.place == self._place for running in self.running)

    def copy_to(self, path: Path) -> None:
        """Copies a shared study into a file, whole or not at all: what a report is made from."""
        import optuna

        partial = path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        optuna.copy_study(
            from_study_name=self._study.study_name, from_storage=self._storage.optuna,
            to_storage=open_storage(partial).optuna, to_study_name=NAME,
        )  # fmt: skip
        copied = TrialStudy(partial, self._proposal, seed=self._seed)
        copied.spend(self.seconds)
        partial.replace(path)

    @property
    def worker_seconds(self) -> float:
        """Search seconds of all workers in all places together."""
        spent = self._study.user_attrs.items()
        return float(sum(value for key, value in spent if key.startswith(_WORKER_SECONDS)))

    @property
    def seconds(self) -> float:
        """Search seconds spent so far in this place, over all runs of this study."""
        return float(self._study.user_attrs.get(f"{_SPENT}{self._place}", 0.0))

    @property
    def longest_seconds(self) -> float:
        """Search seconds of the place that has spent most."""
        spent = self._study.user_attrs.items()
        return max((float(value) for key, value in spent if key.startswith(_SPENT)), default=0.0)

    def spend(self, seconds: float, workers: int = 1) -> None:
        """Records the search seconds spent so far in this place, and how many workers spent them."""
        since = seconds - self.seconds
        known = float(self._study.user_attrs.get(f"{_WORKER_SECONDS}{self._place}", self.seconds))
        self._study.set_user_attr(f"{_WORKER_SECONDS}{self._place}", known + workers * since)
        self._study.set_user_attr(f"{_SPENT}{self._place}", seconds)

    def close(self) -> None:
        """Ends the signs of life; what is open is then lost in time."""
        self._heart.stop()


def kept_study(path: Path) -> TrialStudy | None:
    """Returns the study in a file to be read, None where there is none yet; nothing is made, locked or written.

    Raises:
        StudyError: the file is no study.
    """
    if not path.is_file() or not path.stat().st_size:
        return None
    storage = read_storage(path)
    begun = NAME in (study.study_name for study in storage.optuna.get_all_studies())
    return TrialStudy(storage, Proposal(spaces={}, starts={}), seed=0) if begun else None
