"""Signs of life for the trials that a process has open, in a database that several machines share."""

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autopeft.tuning.storage import Storage


class Heart:
    """Records a sign of life for each open trial every so many seconds, on a thread of its own."""

    def __init__(self, storage: "Storage") -> None:
        """Prepares it; the thread starts with the first trial, and only where the storage is shared."""
        self._storage = storage
        self._open: set[int] = set()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, trial_id: int) -> None:
        """Gives a trial its first sign of life; it has one when this returns."""
        if self._storage.beats is None:
            return
        self._storage.optuna.record_heartbeat(trial_id)
        self._open.add(trial_id)
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, args=(self._storage.beats.interval,), daemon=True)
            self._thread.start()

    def end(self, trial_id: int) -> None:
        """Gives a trial no further one."""
        self._open.discard(trial_id)

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()

    def _beat(self, interval: float) -> None:
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        while not self._stopped.wait(interval):
            for trial_id in tuple(self._open):
                try:
                    self._storage.optuna.record_heartbeat(trial_id)
                except (StorageInternalError, SQLAlchemyError):
                    # A database that restarts misses a beat; one that is gone stops the search when it is next asked.
                    continue
