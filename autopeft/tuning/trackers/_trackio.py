"""Trackio: a run per trial in one project on this machine; ``trackio show`` opens it."""

import sys
from contextlib import redirect_stdout
from pathlib import Path

from autopeft.tuning.trackers._record import PROJECT, Log, Record, losses


def open_log(folder: Path) -> Log:
    """Returns what logs a record as a run, grouped by search."""
    import trackio

    def log(record: Record) -> None:
        # Trackio prints what it does, and stdout is for the result alone.
        with redirect_stdout(sys.stderr):
            run = trackio.init(
                project=PROJECT,
                name=f"{folder.name} {record.name}",
                group=folder.name,
                config={**record.settings, **record.tags},
                # The trial is over: what the machine does now says nothing of it.
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
            for reading in record.curve:
                run.log(losses(reading), step=reading.tokens)
            run.log(dict(record.facts))
            trackio.finish()

    return log
