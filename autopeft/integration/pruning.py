"""A callback through which an Optuna trial ends a hopeless training of transformers' Trainer."""

import math
from typing import Any

import optuna
from transformers import TrainerCallback

from autopeft.errors import invalid


class AutoPeftPruningCallback(TrainerCallback):  # type: ignore[misc]
    """Reads the validation loss at equal numbers of training tokens, and stops a trial that its study gives up.

    Trials of different batch sizes take different steps, so their losses are compared at equal tokens: the callback
    has the trainer evaluate at each multiple of ``every_tokens``, and reports the loss under that multiple. Where the
    trial is pruned, training stops after that step as an early stop does (other callbacks see its end, nothing more is
    evaluated or saved), and then `optuna.TrialPruned` leaves ``trainer.train()``. The trainer can train again.

    Attributes:
        reason: why the trial was pruned; empty where it was not.
        diverged: whether it was because the signal became infinite or NaN.

    Example:
        >>> def objective(trial):  # doctest: +SKIP
        ...     trainer = build_trainer(trial.suggest_float("rate", 1e-5, 1e-2, log=True))
        ...     trainer.add_callback(AutoPeftPruningCallback(trial, every_tokens=50_000))
        ...     trainer.train()
        ...     return trainer.evaluate()["eval_loss"]
    """

    def __init__(self, trial: optuna.Trial, *, every_tokens: int, signal: str = "eval_loss") -> None:
        """Ties the callback to a trial; it serves one training.

        Args:
            trial: of a study with one direction. Where that is to maximize, the loss is reported with its sign turned.
            every_tokens: training tokens between two readings, padding not counted.
            signal: the metric that is reported: a loss, which moves with every row, not a score that jumps.

        Raises:
            InvalidValueError: the study has several directions, or ``every_tokens`` is below 1.
        """
        if every_tokens < 1:
            raise invalid("every_tokens", "AutoPeftPruningCallback", "at least 1", every_tokens)
        if len(trial.study.directions) > 1:
            raise invalid(
                "trial", "AutoPeftPruningCallback", "of a study with one direction",
                f"{len(trial.study.directions)} directions", "Optuna prunes no trial of several objectives.",
            )  # fmt: skip
        self._trial, self._every, self._signal = trial, every_tokens, signal
        self._sign = -1.0 if trial.study.direction == optuna.study.StudyDirection.MAXIMIZE else 1.0
        self._read, self._due = 0, False
        self._known: set[str] = set()
        self.reason, self.diverged = "", False

    def on_train_begin(self, args: Any, _state: Any, _control: Any, **_kwargs: Any) -> None:
        """Has the trainer count tokens.

        Raises:
            InvalidValueError: several processes train together, of which one alone would know the trial.
        """
        if args.world_size > 1:
            advice = "Run one process per trial, and give each its own device."
            raise invalid("world_size", "a trainer with AutoPeftPruningCallback", "1", args.world_size, advice)
        if args.include_num_input_tokens_seen == "no":
            args.include_num_input_tokens_seen = "non_padding"

    def on_step_end(self, _args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        """Asks for a reading when a multiple of ``every_tokens`` was passed; the end of training needs none."""
        self._check_read()
        passed = int(state.num_input_tokens_seen) // self._every
        if passed > self._read and state.global_step < state.max_steps:
            self._read, self._due = passed, True
            control.should_evaluate = True

    def on_evaluate(self, _args: Any, _state: Any, control: Any, **kwargs: Any) -> None:
        """Reports a reading that was asked for, and asks the trial whether it is worth going on."""
        metrics = kwargs["metrics"]
        self._known |= set(metrics)
        # Of several evaluation sets each has a call of its own.
        if not self._due or self._signal not in metrics:
            return
        self._due = False
        tokens, value = self._read * self._every, float(metrics[self._signal])
        if not math.isfinite(value):
            self.diverged = True
            self.reason = f"{self._signal} became {value} at {tokens:,} tokens"
        else:
            self._trial.report(self._sign * value, step=tokens)
            if self._trial.should_prune():
                self.reason = f"{self._signal} {value:.4f} at {tokens:,} tokens is behind other trials"
        if self.reason:
            control.should_training_stop = True
            control.should_save = False

    def on_epoch_end(self, _args: Any, _state: Any, control: Any, **_kwargs: Any) -> None:
        """Keeps a training that is given up from being evaluated and saved once more on its way out."""
        if self.reason:
            control.should_evaluate = control.should_save = False

    def on_train_end(self, _args: Any, _state: Any, _control: Any, **_kwargs: Any) -> None:
        """Tells the study's loop that the trial was pruned.

        Raises:
            TrialPruned: it was; raised when training is over, so that the trainer is left as after any other.
            InvalidValueError: a reading was asked for, and no evaluation had the signal.
        """
        self._check_read()
        if self.reason:
            raise optuna.TrialPruned(self.reason)

    def _check_read(self) -> None:
        if self._due:
            known = f"one of the trainer's metrics: {', '.join(sorted(self._known))}"
            raise invalid("signal", "AutoPeftPruningCallback", known, self._signal)
