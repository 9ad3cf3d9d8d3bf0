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
from autopeft.tuning.kept import NAME, SECONDS, WORKER_SECONDS, KeptStudy
from autopeft.tuning.lost import LOST, SILENT, close, repeat, settle, silent
from autopeft.tuning.proposal import Proposal
from autopeft.tuning.running import Running
from autopeft.tuning.storage import Storage, open_storage
from autopeft.tuning.stored import CONTINUES, OUTCOME, WORKER, place_of, running, sampler
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Measurement, TrialOutcome

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

_SETTINGS = "settings"


def _nothing() -> None:
    """Guards nothing."""


class TrialStudy(KeptStudy):
    """One search's study, worked on: every change is durable before the next trial starts."""

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
        self._guard, self._holding = guard, False
        self._seen: Sequence[FrozenTrial] | None = None
        try:
            with self.exclusive():
                study = optuna.create_study(
                    storage=self._storage.optuna, study_name=name, direction="minimize", load_if_exists=True
                )
        except (StorageInternalError, SQLAlchemyError) as error:
            raise StudyError(f"{self._storage.name} cannot be opened as a study: {error}") from error
        super().__init__(study, place)
        self._heart = Heart(self._storage)

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
            lost = self._settle(gone, LOST, interrupted=restarted)
            return lost + self._settle(silent(self._study, self._storage, self._trials("RUNNING")), SILENT)

    def lose(self, process: int, reason: str) -> int:
        """Settles the trials that a process of this place left open when it ended, and returns how many were lost."""
        with self.exclusive():
            owner = {"place": self._place, "process": process}
            gone = [t for t in self._trials("RUNNING") if t.user_attrs.get(WORKER, owner) == owner]
            return self._settle(gone, reason)

    def give_up(self, trial: "Trial", reason: str) -> None:
        """Settles a trial of this process whose work was lost elsewhere."""
        with self.exclusive():
            self._heart.end(trial._trial_id)
            self._settle([other for other in self._trials("RUNNING") if other.number == trial.number], reason)

    def _settle(self, gone: Sequence["FrozenTrial"], reason: str, *, interrupted: bool = False) -> int:
        """Settles open trials whose processes have ended, and returns how many were lost."""
        lost = sum(settle(self._study, trial, self._proposal, reason, interrupted=interrupted) for trial in gone)
        if gone:
            self._seen = None
        if repeat(self._study, self._all(), self._proposal):
            self._seen = None
        return lost

    def _is_gone(self, trial: "FrozenTrial") -> bool:
        # Whoever holds the study sees no trial half claimed, unless its process died there.
        return not self._storage.shared or OUTCOME in trial.user_attrs or WORKER not in trial.user_attrs

    def _all(self) -> Sequence["FrozenTrial"]:
        """Returns all trials; while this process holds the study they are read again only after it has changed them."""
        if self._seen is not None:
            return self._seen
        trials = super()._all()
        if self._holding:
            self._seen = trials
        return trials

    def _trials(self, state: str) -> list["FrozenTrial"]:
        return [trial for trial in self._all() if trial.state.name == state]

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
                close(self._study, trial.number, outcome)
                self._seen = None

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

    def spend(self, seconds: float, workers: int = 1) -> None:
        """Records the search seconds spent so far in this place, and how many workers spent them."""
        since = seconds - self.seconds
        known = float(self._study.user_attrs.get(f"{WORKER_SECONDS}{self._place}", self.seconds))
        self._study.set_user_attr(f"{WORKER_SECONDS}{self._place}", known + workers * since)
        self._study.set_user_attr(f"{SECONDS}{self._place}", seconds)

    def close(self) -> None:
        """Ends the signs of life; what is open is then lost in time."""
        self._heart.stop()
