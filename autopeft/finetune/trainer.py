"""Builds transformers' Trainer for a full training: readings, checkpoints, early stopping."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from autopeft.data import EncodedDataset
from autopeft.finetune.checkpoints import stalled, trainer_class
from autopeft.training.scoring import spread
from autopeft.tuned import TunedConfig
from autopeft.values.candidates import rows_at_once

READINGS_PER_EPOCH = 4
VALIDATION_ROWS = 2000
"""Validation rows behind each reading: enough for a mean loss, and a small share of an epoch's time."""

Report = Callable[[int, int, float | None, float | None], None]
"""(step, steps in all, training loss, validation loss) → nothing."""


def build_trainer(
    tuned: TunedConfig,
    model: Any,
    train: EncodedDataset,
    validation: EncodedDataset,
    *,
    folder: Path,
    epochs: float,
    device: str,
    report: Report,
    resumable: bool,
) -> Any:
    """Returns the trainer of a full training.

    Args:
        tuned: what to train with.
        model: with the method attached, and started where it starts from data.
        train: training rows.
        validation: rows whose loss decides which weights are kept.
        folder: where checkpoints go.
        epochs: passes over the training rows.
        device: torch's name for it.
        report: is told each logged step and each reading.
        resumable: whether weights alone bring a run back; else nothing is kept on the way and it runs to its end.
    """
    from transformers import PrinterCallback

    per_epoch = math.ceil(math.ceil(len(train) / tuned.candidate.batch_size) / tuned.candidate.accumulation)
    tuned = _lasting(tuned, epochs, math.ceil(epochs * per_epoch))
    clock = _clock()
    trainer = trainer_class()(
        model=model,
        args=_arguments(tuned, folder, max(1, math.ceil(per_epoch / READINGS_PER_EPOCH)), device, resumable=resumable),
        train_dataset=train,
        eval_dataset=_sample(validation),
        # Who prepares a training has started the method, on the same rows whether it is resumed or not.
        callbacks=[*tuned.callbacks(started=True), clock, _progress(report), *([_stopping()] if resumable else [])],
        optimizers=tuned.optimizers(model),
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which belongs to the command's result
    trainer.step_seconds = clock.middle
    return trainer


def _lasting(tuned: TunedConfig, epochs: float, steps: int) -> TunedConfig:
    """Returns the config of a run of this length, which schedules count their parts over."""
    return replace(tuned, training=replace(tuned.training, epochs=epochs, steps=steps))


def _arguments(tuned: TunedConfig, folder: Path, every: int, device: str, *, resumable: bool) -> Any:
    """Returns transformers' arguments of a run that is read, and kept, every so many steps."""
    arguments = tuned.training_arguments(
        folder,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps" if resumable else "no",
        save_steps=every,
        logging_steps=max(1, every // 4),
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        per_device_eval_batch_size=rows_at_once(tuned.candidate, device),
        prediction_loss_only=True,
        disable_tqdm=True,
    )
    # One process trains on one device: asked for the device first, or the count would be set again.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _clock() -> Any:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Times optimizer steps, readings and checkpoints left out."""

        def __init__(self) -> None:
            self._began = 0.0
            self._taken: list[float] = []

        def on_step_begin(self, _args: Any, _state: Any, _control: Any, **_kwargs: Any) -> None:
            self._began = time.perf_counter()

        def on_step_end(self, _args: Any, _state: Any, _control: Any, **_kwargs: Any) -> None:
            self._taken.append(time.perf_counter() - self._began)

        def middle(self) -> float | None:
            """Returns the median step's seconds, None where none was taken."""
            return statistics.median(self._taken) if self._taken else None

    return Clock()


def _sample(dataset: EncodedDataset) -> EncodedDataset:
    chosen = spread(len(dataset), VALIDATION_ROWS)
    return replace(dataset, rows=[dataset.rows[i] for i in chosen], lengths=[dataset.lengths[i] for i in chosen])


def _progress(report: Report) -> Any:
    from transformers import TrainerCallback

    class Progress(TrainerCallback):  # type: ignore[misc]
        """Tells each logged step and each reading."""

        def on_log(self, _args: Any, state: Any, _control: Any, **kwargs: Any) -> None:
            logs = kwargs["logs"]
            report(state.global_step, state.max_steps, logs.get("loss"), logs.get("eval_loss"))

    return Progress()


def _stopping() -> Any:
    from transformers import TrainerCallback

    class Stopping(TrainerCallback):  # type: ignore[misc]
        """Stops a training whose validation loss has not fallen for a while; reads it off the log, so it resumes."""

        def on_evaluate(self, _args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
            if stalled(state.log_history):
                control.should_training_stop = True

    return Stopping()
