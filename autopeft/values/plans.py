"""How a run is trained: what the search and the full training share."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training run's budget and everything about it that the candidate does not say.

    Attributes:
        tokens: training tokens to see, padding not counted: comparable across methods and batch sizes.
        seed: of the order of rows, dropout and the method's initial values.
        warmup_share: share of the optimizer steps over which the learning rate rises; then it goes as
            the candidate's schedule has it.
        max_gradient_norm: gradients are clipped to this norm; without it some tasks collapse at high rates.
        readings: shares of the budget after which progress is reported, ascending, the last one 1.
        seconds: that training from one reading to the next may take; what is slower is ended after a few steps.
    """

    tokens: int
    seed: int = 0
    warmup_share: float = 0.06
    weight_decay: float = 0.0
    max_gradient_norm: float = 1.0
    readings: tuple[float, ...] = (1.0,)
    seconds: float = math.inf
