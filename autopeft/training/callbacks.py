"""Callbacks that carry a method's own steps into transformers' Trainer."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from autopeft.methods import Method, get_method
from autopeft.training.scoring import spread
from autopeft.training.worker import PREPARING_BATCHES
from autopeft.values.candidates import Candidate, Setup


def method_callbacks(name: str, setup: Callable[[], Setup], *, started: bool = False) -> list[Any]:
    """Returns the callbacks that a method needs: one that starts it from data and runs its schedule, or none.

    Args:
        name: of the method.
        setup: gives what the method was attached with, where it asks for it.
        started: whether it was started from data already: a second start would move its base once more.
    """
    method = get_method(name)
    if started:
        method = replace(method, prepare=None)
    needed = method.prepare or method.before_training or method.after_step
    return [_callback(method, setup)] if needed else []


def checkpointing_callbacks(candidate: Candidate) -> list[Any]:
    """Returns the callback that has a trainer checkpoint as trials and estimates do, or none where nothing is."""
    return [_frozen_inputs()] if candidate.gradient_checkpointing else []


def _frozen_inputs() -> Any:
    from transformers import TrainerCallback

    class FrozenInputs(TrainerCallback):  # type: ignore[misc]
        """Takes back that the embeddings' output asks for gradients, for which every layer would be recomputed."""

        def on_train_begin(self, _args: Any, _state: Any, _control: Any, **kwargs: Any) -> None:
            # The trainer has switched checkpointing on by now; the variant that it is told to use needs no such input.
            kwargs["model"].disable_input_require_grads()

    return FrozenInputs()


def _callback(method: Method, setup: Callable[[], Setup]) -> Any:
    from transformers import TrainerCallback

    class MethodSteps(TrainerCallback):  # type: ignore[misc]
        """Starts the method, fits its schedule to the run, and takes its step after each of the optimizer's."""

        def on_init_end(self, _args: Any, _state: Any, _control: Any, **kwargs: Any) -> None:
            # Before a checkpoint is read: what a run that is resumed started from.
            self.initial = _values(kwargs["model"]) if method.prepare is not None else []

        def on_train_begin(self, args: Any, state: Any, _control: Any, **kwargs: Any) -> None:
            model = kwargs["model"]
            if method.prepare is not None:
                rows = args.per_device_train_batch_size
                initial = self.initial if state.global_step > 0 else None
                start(method, setup(), model, kwargs["train_dataloader"], rows, initial)
            if method.before_training is not None:
                method.before_training(model, state.max_steps)

        def on_optimizer_step(self, _args: Any, state: Any, _control: Any, **kwargs: Any) -> None:
            # The gradients are still there: the trainer clears them after this, and counts the step later.
            if method.after_step is not None:
                method.after_step(kwargs["model"], state.global_step + 1)

    return MethodSteps()


def start(method: Method, setup: Setup, model: Any, loader: Any, rows: int, initial: list[Any] | None = None) -> None:
    """Starts an attached method from rows spread evenly over a loader's data set: the same ones in every run.

    Args:
        method: one that starts from data.
        setup: what it was attached with.
        model: with the method attached.
        loader: torch's, for its data set and its collator; it is not advanced.
        rows: of a batch.
        initial: of a resumed run, the trainable values from before its checkpoint was read. The start is found from
            them, as it was the first time, and then those of the checkpoint are put back.

    Raises:
        ValueError: the method does not start from data.
    """
    if method.prepare is None:
        raise ValueError(f"{method.name} does not start from data.")
    chosen = spread(len(loader.dataset), PREPARING_BATCHES * rows)
    parts = [chosen[first : first + rows] for first in range(0, len(chosen), rows)]
    device = next(model.parameters()).device
    batches = [{key: value.to(device) for key, value in _batch(loader, part).items()} for part in parts]
    resumed = _values(model)
    if initial is not None:
        _write(model, initial)
    method.prepare(model, setup, batches)
    if initial is not None:
        _write(model, resumed)


def _trainable(model: Any) -> list[Any]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _values(model: Any) -> list[Any]:
    return [parameter.detach().clone() for parameter in _trainable(model)]


def _write(model: Any, values: list[Any]) -> None:
    import torch

    with torch.no_grad():
        for parameter, value in zip(_trainable(model), values, strict=True):
            parameter.copy_(value)


def _batch(loader: Any, part: list[int]) -> dict[str, Any]:
    # As torch's loader fetches them: at once where the data set can, so that it can pad them together.
    together = getattr(loader.dataset, "__getitems__", None)
    rows = together(part) if together is not None else [loader.dataset[index] for index in part]
    return dict(loader.collate_fn(rows))
