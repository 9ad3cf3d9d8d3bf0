"""What a learning-rate schedule declares, and the warm-up that all of them begin with."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal


def _no_options(_steps: int) -> Mapping[str, int | str]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """One way for the learning rate to go once it has been warmed up.

    Attributes:
        factor: (optimizer steps since the warm-up, all that follow it) → factor on the learning rate.
        trainer_name: the value of ``TrainingArguments.lr_scheduler_type``.
        trainer_options: all optimizer steps that follow the warm-up → ``TrainingArguments.lr_scheduler_kwargs``.
    """

    name: str
    title: str
    factor: Callable[[int, int], float]
    trainer_name: str
    trainer_options: Callable[[int], Mapping[str, int | str]] = _no_options
    source: str
    kind: Literal["schedule"] = field(default="schedule", init=False)

    def over(self, total: int, warmup_share: float) -> Callable[[int], float]:
        """Returns optimizer step, from 0 → factor on the learning rate: a linear rise over the warm-up, then its own.

        Args:
            total: optimizer steps of the run.
            warmup_share: the share of them, rounded up, over which the rate rises.
        """
        warmup = warmup_steps(total, warmup_share)
        after = max(1, total - warmup)

        def factor(step: int) -> float:
            return (step + 1) / (warmup + 1) if step < warmup else self.factor(min(step - warmup, after), after)

        return factor


def warmup_steps(total: int, share: float) -> int:
    """Returns the optimizer steps over which the learning rate rises."""
    return math.ceil(share * total)
