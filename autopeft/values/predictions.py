"""What a candidate is expected to gain over the default recipe, and what that rests on."""

from dataclasses import dataclass
from typing import Literal

from autopeft.values.names import Status

Unit = Literal["points", "per cent of the loss"]
"""What gains are counted in: points of a hundred of a metric that is a share, or per cent of a loss."""


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A measured run that a prediction leans on.

    Attributes:
        points: it gained over the default recipe of its own setting, in its own unit.
    """

    name: str
    method: str
    points: float
    unit: Unit
    source: str


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a candidate is expected to gain over the default recipe in the same setting.

    Attributes:
        points: in its unit; above 0 is better than the default recipe.
        low: lower end of the interval.
        high: its upper end.
        level: share of such intervals that are to hold the truth.
        extrapolates: why the evidence says little here, one sentence each; empty where it does.
        nearest: the measured runs most like it, the nearest first.
    """

    points: float
    low: float
    high: float
    level: float
    unit: Unit = "points"
    extrapolates: tuple[str, ...] = ()
    nearest: tuple[Neighbour, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ProbeRun:
    """What a few real steps of a candidate came to.

    Attributes:
        steps: optimizer steps done.
        tokens: trained on.
        loss: on validation rows after them, in nats; None where the run did not come to its end.
        gradient_norm: of what is trained, on one batch before the first step.
        seconds: that it took, attaching and scoring included.
    """

    status: Status
    steps: int = 0
    tokens: int = 0
    loss: float | None = None
    gradient_norm: float | None = None
    seconds: float = 0.0
