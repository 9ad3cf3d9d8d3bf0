"""Callbacks that carry a method's own steps into transformers' Trainer."""

from typing import Any

from autopeft.methods import get_method


def method_callbacks(name: str) -> list[Any]:
    """Returns the callbacks that a method needs: one that calls its ``after_step``, or none."""
    from transformers import TrainerCallback

    after_step = get_method(name).after_step
    if after_step is None:
        return []

    class AfterStep(TrainerCallback):  # type: ignore[misc]
        """Runs after the optimizer has stepped and before the gradients are cleared."""

        def on_optimizer_step(self, _args: Any, state: Any, _control: Any, **kwargs: Any) -> None:
            after_step(kwargs["model"], state.global_step + 1)

    return [AfterStep()]
