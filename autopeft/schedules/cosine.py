"""The learning rate falls to zero along half a cosine."""

import math

from autopeft.schedules._declaration import Schedule


def _factor(step: int, steps: int) -> float:
    return (1 + math.cos(math.pi * step / steps)) / 2


SCHEDULE = Schedule(
    name="cosine",
    title="half a cosine to zero",
    factor=_factor,
    trainer_name="cosine",
    source="Loshchilov & Hutter, SGDR, arXiv 1608.03983, equation 5, without restarts and down to zero",
)
