"""Trackio: a run per trial in one project on this machine; ``trackio show`` opens it."""

from pathlib import Path

from autopeft.tuning.trackers._record import PROJECT, Log, Record, losses


def open_log(folder: Path) -> Log:
    """Returns what logs a record as a run, grouped by search."""
    import trackio

    def log(record: Record) -> None:
        run = trackio.init(
            project=PROJECT,
            name=f"{folder.name} {record.name}",
            group=folder.name,
            config={**record.settings, **record.tags},
        )
        for reading in record.curve:
            run.log(losses(reading), step=reading.tokens)
        run.log(dict(record.facts))
        run.finish()

    return log
