"""Trains one candidate after another with somebody's Trainer, and gives it back as it was."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from autopeft.errors import ModelError
from autopeft.integration.subject import Subject
from autopeft.methods import Method, get_method
from autopeft.optimizers import get_optimizer
from autopeft.schedules import get_schedule
from autopeft.training.base import copy_weights, fingerprint, restore_weights
from autopeft.training.callbacks import method_callbacks
from autopeft.values.candidates import Candidate, Setup


class Borrowed:
    """A trainer whose model takes one method after the other; the base is proven unchanged after each."""

    def __init__(self, trainer: Any, subject: Subject) -> None:
        """Takes the trainer; `borrowed` gives it back."""
        self.trainer, self.subject = trainer, subject
        self._base, self._args = trainer.model, trainer.args
        self._fingerprint = fingerprint(self._base)

    def train(self, candidate: Candidate, callback: Any) -> tuple[dict[str, float], int]:
        """Returns the metrics after one training of a candidate, and the parameters it trained.

        Args:
            candidate: what to attach and train.
            callback: of the trainer, for this training.

        Raises:
            TrialPruned: the callback gave it up.
            ModelError: the method failed while it was attached, and the model is no longer what it was.
            RuntimeError: the base is not what it was, bit for bit: a defect of the method.
        """
        from transformers import set_seed

        method, trainer = get_method(candidate.method), self.trainer
        steps = self.subject.steps(candidate.batch_size * candidate.accumulation)
        model = self.subject.model
        setup = Setup(model=model, task=model.task, candidate=candidate, total_steps=steps)
        saved = copy_weights(self._base) if method.capabilities.changes_base else None
        callbacks = [*method_callbacks(candidate.method, lambda: setup), callback]
        set_seed(self._args.seed)
        attached = self._attached(method, setup)
        added: list[Any] = []
        try:
            self._hand_over(attached, candidate, steps)
            for one in callbacks:
                trainer.add_callback(one)
                added.append(one)
            trainer.train()
            return trainer.evaluate(), sum(p.numel() for p in attached.parameters() if p.requires_grad)
        finally:
            for one in added:
                trainer.remove_callback(one)
            method.detach(attached)
            self._settle(saved)
            if fingerprint(self._base) != self._fingerprint:
                raise RuntimeError(f"The base model was not restored after a run of {candidate.method!r}.")

    def _attached(self, method: Method, setup: Setup) -> Any:
        """Returns the model with a method attached.

        Raises:
            ModelError: it failed half-way, and what it has left in the model cannot be taken back.
        """
        try:
            return method.apply(self._base, setup)
        except Exception as error:
            if fingerprint(self._base) == self._fingerprint:
                raise
            raise ModelError(
                f"{method.name} failed while it was attached, and part of it is left in the model: {error}\n"
                "Load the model anew, and leave the method out or give it more memory."
            ) from error

    def _hand_over(self, attached: Any, candidate: Candidate, steps: int) -> None:
        trainer, args = self.trainer, copy.copy(self._args)
        args.learning_rate = candidate.learning_rate
        schedule = get_schedule(candidate.schedule)
        args.lr_scheduler_type = type(args.lr_scheduler_type)(schedule.trainer_name)
        args.lr_scheduler_kwargs = dict(schedule.trainer_options(steps - args.get_warmup_steps(steps)))
        args.per_device_train_batch_size = candidate.batch_size
        args.gradient_accumulation_steps = candidate.accumulation
        args.max_steps = steps
        if candidate.gradient_checkpointing:
            args.activation_checkpointing = args.gradient_checkpointing = True
            args.activation_checkpointing_kwargs = args.gradient_checkpointing_kwargs = {"use_reentrant": False}
        # A trial leaves no checkpoint, and is read where its callback asks for it.
        args.save_strategy = type(args.save_strategy)("no")
        args.eval_strategy = type(args.eval_strategy)("no")
        args.load_best_model_at_end = False
        trainer.args, trainer.model, trainer.model_wrapped = args, attached, attached
        build = get_optimizer(candidate.optimizer).build
        trainer.optimizer, trainer.lr_scheduler = build(attached, args.learning_rate, args.weight_decay), None
        # What the Trainer itself does where its own search changes the arguments.
        trainer._train_batch_size = args.train_batch_size
        trainer.create_accelerator_and_postprocess()

    def _settle(self, saved: dict[str, Any] | None) -> None:
        """Brings the trainer back to its own model and arguments."""
        trainer, base = self.trainer, self._base
        used, trainer.args = trainer.args, self._args
        trainer.model = trainer.model_wrapped = base
        trainer.optimizer = trainer.lr_scheduler = None
        trainer.is_in_train = False
        trainer._train_batch_size = self._args.train_batch_size
        trainer.create_accelerator_and_postprocess()
        if used.activation_checkpointing and not self._args.activation_checkpointing:
            base.activation_checkpointing_disable()
        base.zero_grad(set_to_none=True)
        base.requires_grad_(requires_grad=False)
        if saved is not None:
            restore_weights(base, saved)


@contextmanager
def borrowed(trainer: Any, subject: Subject) -> Iterator[Borrowed]:
    """Lends a trainer to a search, and gives it back with what it held: model, optimizer, arguments, callbacks.

    Early stopping is set aside meanwhile: it refuses arguments that evaluate at no step, and a trial ends by its study.
    """
    from transformers import EarlyStoppingCallback

    held, handler = (trainer.optimizer, trainer.lr_scheduler), trainer.callback_handler
    callbacks = list(handler.callbacks)
    handler.callbacks[:] = [one for one in callbacks if not isinstance(one, EarlyStoppingCallback)]
    # A model that a method has broken off in holds others too.
    trained = [(parameter, parameter.requires_grad) for parameter in trainer.model.parameters()]
    trainer.model.requires_grad_(requires_grad=False)
    try:
        yield Borrowed(trainer, subject)
    finally:
        handler.callbacks[:] = callbacks
        trainer.optimizer, trainer.lr_scheduler = held
        for parameter, flag in trained:
            parameter.requires_grad_(flag)
