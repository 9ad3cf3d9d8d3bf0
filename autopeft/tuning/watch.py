"""Progress read from the study, for a process that does not run the trials itself."""

from collections.abc import Callable

from autopeft.tuning.observer import Observer
from autopeft.tuning.ranking import best_trial
from autopeft.tuning.study import TrialStudy


class Watch:
    """Tells an observer which trials have begun and ended since the last look."""

    def __init__(self, study: TrialStudy, observer: Observer, spent: Callable[[], float], workers: int) -> None:
        """Begins with what the study holds now, of which nothing is told; ``spent`` gives the search's seconds."""
        self._study, self._observer, self._spent, self._workers = study, observer, spent, workers
        self._told = {outcome.number for outcome in study.outcomes()}
        self._begun = {running.number for running in study.running}

    def look(self) -> None:
        """Tells what is new."""
        for running in self._study.running:
            if running.number not in self._begun and running.candidate is not None:
                self._begun.add(running.number)
                self._observer.trial_started(running.number, running.candidate)
        outcomes = self._study.outcomes()
        new = [outcome for outcome in outcomes if outcome.number not in self._told]
        if new:
            self._study.spend(self._spent(), self._workers)
        for outcome in new:
            self._told.add(outcome.number)
            self._observer.trial_ended(outcome, best_trial(outcomes), self._spent())
