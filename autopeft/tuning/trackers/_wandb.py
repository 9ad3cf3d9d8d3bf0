"""Weights & Biases: a run per trial in one project, grouped by search; ``WANDB_MODE=offline`` keeps them here."""

from pathlib import Path

from autopeft.tuning.trackers._record import PROJECT, Log, Record, losses


def open_log(folder: Path) -> Log:
    """Returns what logs a record as a run; their files lie in the search's folder."""
    import wandb

    def log(record: Record) -> None:
        run = wandb.init(
            project=PROJECT,
            group=folder.name,
            name=record.name,
            config=dict(record.settings),
            tags=[record.tags["status"]],
            notes=record.tags.get("reason"),
            dir=str(folder),
            reinit="create_new",
            # The command's own output is no part of a run, and its lines stay readable.
            settings=wandb.Settings(silent=True, console="off"),
        )
        for reading in record.curve:
            run.log(losses(reading), step=reading.tokens)
        run.summary.update(dict(record.facts))
        run.finish()

    return log
