"""The learning rate stays, then falls to zero over the last fifth."""

import math
from collections.abc import Mapping

from autopeft.schedules._declaration import Schedule

DECAY_SHARE = 0.2
"""Of the steps after the warm-up."""


def _decay_steps(steps: int) -> int:
    return math.ceil(DECAY_SHARE * steps)


def _factor(step: int, steps: int) -> float:
    decay = _decay_steps(steps)
    return 1 - math.sqrt(max(0, step - (steps - decay)) / decay)


def _options(steps: int) -> Mapping[str, int | str]:
    return {"num_decay_steps": _decay_steps(steps), "decay_type": "1-sqrt"}


SCHEDULE = Schedule(
    name="warmup_stable_decay",
    title="constant, then a fall to zero over the last fifth",
    factor=_factor,
    trainer_name="warmup_stable_decay",
    trainer_options=_options,
    source="Hägele et al., arXiv 2405.18392: a fall by one minus the square root, which there beats a linear one",
)
