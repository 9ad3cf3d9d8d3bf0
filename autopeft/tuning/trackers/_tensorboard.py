"""TensorBoard: an event file per trial under ``tensorboard/`` in the search's folder."""

from pathlib import Path

from autopeft.tuning.trackers._record import Log, Record, losses


def open_log(folder: Path) -> Log:
    """Returns what logs a record as a run of its own, with its settings among the hyperparameters."""
    from torch.utils.tensorboard import SummaryWriter

    def log(record: Record) -> None:
        with SummaryWriter(str(folder / "tensorboard" / record.name.replace(" ", "-"))) as writer:
            for reading in record.curve:
                for name, value in losses(reading).items():
                    writer.add_scalar(name, value, reading.tokens)
            writer.add_text("tags", ", ".join(f"{key}: {value}" for key, value in record.tags.items()))
            # A run of its own beside this one is what `add_hparams` would make without a name.
            writer.add_hparams(dict(record.settings), dict(record.facts), run_name=".")

    return log
