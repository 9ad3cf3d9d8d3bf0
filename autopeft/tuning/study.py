"""The Optuna study behind a search: proposals in, outcomes back, and what a killed run left behind."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopeft.errors import StudyError
from autopeft.files import parse, plain
from autopeft.tuning.proposal import Proposal
from autopeft.values.candidates import Candidate
from autopeft.values.names import Status
from autopeft.values.outcomes import Measurement, TrialOutcome

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

_OUTCOME = "outcome"
_RETRY = "retry"
_SPENT = "seconds"

_CONTINUES = "continues"


class TrialStudy:
    """One search's study in a SQLite file: every change is durable before the next trial starts."""

    def __init__(self, path: Path, proposal: Proposal, *, seed: int) -> None:
        """Opens the study, or makes it where the file is new.

        Args:
            path: the SQLite file.
            proposal: the spaces that candidates are drawn from.
            seed: trial k samples from ``seed + k``, so that a resumed search proposes what an unbroken one would.

        Raises:
            StudyError: the file is not a study or cannot be written.
        """
        import optuna
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._proposal, self._seed = proposal, seed
        try:
            self._study = optuna.create_study(
                storage=f"sqlite:///{path}",
                study_name="autopeft",
                direction="minimize",
                load_if_exists=True,
            )
        except (StorageInternalError, SQLAlchemyError) as error:
            raise StudyError(f"{path} cannot be opened as a study: {error}") from error

    def enqueue(self, candidates: Sequence[Candidate]) -> None:
        """Puts candidates in the queue, in order, those left out that are in it or have run."""
        for candidate in candidates:
            self._study.enqueue_trial(self._proposal.fixed(candidate), skip_if_exists=True)

    def recover(self) -> int:
        """Settles the trials that a killed run left open, and returns how many were lost.

        A trial whose outcome was stored is finished with it; any other is recorded as ``worker_lost`` and put in
        the queue once more, unless it was already a second try.
        """
        from optuna.trial import TrialState

        lost = 0
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if _OUTCOME in trial.user_attrs:
                self._close(trial.number, _outcome(trial))
                continue
            lost += 1
            self._lose(trial)
        return lost

    def _lose(self, trial: "FrozenTrial") -> None:
        import optuna

        drawn = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        # A process that died while its trial was being drawn leaves nothing to record or to repeat.
        if self._proposal.complete(drawn):
            continues = trial.user_attrs.get(_CONTINUES)
            # What was continued still waits where it stopped; only a trial that began anew has to be repeated.
            if continues is None and not trial.user_attrs.get(_RETRY, False):
                self._study.enqueue_trial(drawn, user_attrs={_RETRY: True})
            outcome = TrialOutcome(
                number=trial.number,
                status="worker_lost",
                candidate=self._proposal.given(drawn),
                continues=continues,
                reason="the process ended during the trial",
            )
            optuna.trial.Trial(self._study, trial._trial_id).set_user_attr(_OUTCOME, plain(outcome))
        self._study.tell(trial.number, state=_state("worker_lost"))

    @property
    def queued(self) -> bool:
        """Whether a trial waits that nobody has begun."""
        from optuna.trial import TrialState

        return bool(self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def ask(self) -> tuple["Trial", Candidate]:
        """Returns the next trial and its candidate."""
        self._study.sampler = self._sampler(len(self._study.get_trials(deepcopy=False)))
        trial = self._study.ask()
        return trial, self._proposal.draw(trial)

    def ask_again(self, earlier: TrialOutcome) -> tuple["Trial", Candidate]:
        """Returns a trial that goes on from an earlier one: the same candidate, its readings reported already."""
        import optuna

        before = self._study.get_trials(deepcopy=False)[earlier.number]
        # It begins at once, past the queue, which `Study.ask` would serve first.
        self._study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING,
                params=before.params,
                distributions=before.distributions,
                user_attrs={_CONTINUES: earlier.number},
            )
        )
        added = self._study.get_trials(deepcopy=False)[-1]
        trial = optuna.trial.Trial(self._study, added._trial_id)
        for position, reading in enumerate(earlier.curve):
            self.report(trial, reading, position)
        return trial, earlier.candidate

    def _sampler(self, number: int) -> Any:
        import optuna

        with warnings.catch_warnings():
            # Grouped multivariate TPE, made for spaces where parameters depend on the method, is marked experimental.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(
                seed=self._seed + number, n_startup_trials=len(self._proposal.spaces), multivariate=True, group=True
            )

    def report(self, trial: "Trial", reading: Measurement, position: int) -> None:
        """Records a reading, from which the sampler learns.

        Args:
            trial: from `ask` or `ask_again`.
            reading: its measurement.
            position: of the reading among the trial's, from 0.
        """
        trial.report(reading.validation_loss, step=position)

    def tell(self, trial: "Trial", outcome: TrialOutcome) -> None:
        """Stores a trial's outcome; once stored it survives whatever comes."""
        trial.set_user_attr(_OUTCOME, plain(outcome))
        self._close(trial.number, outcome)

    def _close(self, number: int, outcome: TrialOutcome) -> None:
        value = outcome.curve[-1].validation_loss if outcome.status == "completed" else None
        self._study.tell(number, value, state=_state(outcome.status))

    def outcomes(self) -> tuple[TrialOutcome, ...]:
        """Returns the outcomes of all trials that ended, by number; one that was continued is left out.

        Who was lost, or ran out of time, while going on has not replaced what it went on from.
        """
        trials = self._study.get_trials(deepcopy=False)
        found = [_outcome(trial) for trial in trials if _OUTCOME in trial.user_attrs]
        continued = {outcome.continues for outcome in found if outcome.status not in ("worker_lost", "timed_out")}
        return tuple(outcome for outcome in found if outcome.number not in continued)

    @property
    def seconds(self) -> float:
        """Search seconds spent so far, over all runs of this study."""
        return float(self._study.user_attrs.get(_SPENT, 0.0))

    def spend(self, seconds: float) -> None:
        """Records the search seconds spent so far."""
        self._study.set_user_attr(_SPENT, seconds)


def _outcome(trial: "FrozenTrial") -> TrialOutcome:
    return parse(TrialOutcome, trial.user_attrs[_OUTCOME], f"trial {trial.number}")


def _state(status: Status) -> Any:
    """Returns Optuna's state for a status.

    What cannot be trained, or not to the end, is told as pruned: the sampler then counts it among the bad.
    """
    from optuna.trial import TrialState

    states: Mapping[str, TrialState] = {"completed": TrialState.COMPLETE, "worker_lost": TrialState.FAIL}
    return states.get(status, TrialState.PRUNED)
