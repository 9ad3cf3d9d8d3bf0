"""Callbacks that carry a method's own steps into transformers' Trainer."""

from typing import Any

from autopeft.methods import Method, get_method


def method_callbacks(name: str) -> list[Any]:
    """Returns the callbacks that a method needs: one that runs its schedule, or none."""
    method = get_method(name)
    return [_callback(method)] if method.before_training or method.after_step else []


def _callback(method: Method) -> Any:
    from transformers import TrainerCallback

    class MethodSteps(TrainerCallback):  # type: ignore[misc]
        """Fits the method's schedule to the run, and takes its step after each of the optimizer's."""

        def on_train_begin(self, _args: Any, state: Any, _control: Any, **kwargs: Any) -> None:
            if method.before_training is not None:
                method.before_training(kwargs["model"], state.max_steps)

        def on_optimizer_step(self, _args: Any, state: Any, _control: Any, **kwargs: Any) -> None:
            # The gradients are still there: the trainer clears them after this, and counts the step later.
            if method.after_step is not None:
                method.after_step(kwargs["model"], state.global_step + 1)

    return MethodSteps()
