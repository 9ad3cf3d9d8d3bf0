"""Callbacks that carry a method's own steps into transformers' Trainer."""

from collections.abc import Callable
from typing import Any

from autopeft.methods import get_method


def method_callbacks(name: str) -> list[Any]:
    """Returns the callbacks that a method needs: one that calls its ``after_step``, or none."""
    after_step = get_method(name).after_step
    return [] if after_step is None else [_after_step_callback(after_step)]


def _after_step_callback(after_step: Callable[[Any, int], None]) -> Any:
    from transformers import TrainerCallback

    class AfterStep(TrainerCallback):  # type: ignore[misc]
        """Runs after the optimizer has stepped and before the gradients are cleared."""

        def on_optimizer_step(self, _args: Any, state: Any, _control: Any, **kwargs: Any) -> None:
            after_step(kwargs["model"], state.global_step + 1)

    return AfterStep()
