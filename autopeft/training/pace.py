"""How fast a run goes, by which one that cannot end in its time is known after a few steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

LEAST_STEPS = 3
"""Steps that are timed, after the first, which warms up, before anything is concluded from them."""

LEAST_SHARE = 0.1
"""Share of the time given that they have to take."""


@dataclass
class Pace:
    """The steps of one run that were timed.

    The fastest of them counts: a machine may hold up any of them, and makes none faster than the method is.

    Attributes:
        seconds: that the longest part of the run may take.
        tokens: of that part.
        steps: timed so far, the first included.
    """

    seconds: float
    tokens: float
    steps: int = 0
    _taken: float = 0.0
    _fastest: float = math.inf

    def add(self, tokens: int, seconds: float) -> None:
        """Counts a step."""
        self.steps += 1
        if self.steps > 1:
            self._taken += seconds
            self._fastest = min(self._fastest, seconds / tokens)

    @property
    def too_slow(self) -> bool:
        """Whether the longest part takes longer than it may; not as long as too little has been seen to say."""
        seen = self.steps > LEAST_STEPS and self._taken >= LEAST_SHARE * self.seconds
        return seen and self._fastest * self.tokens > self.seconds


def longest_part(shares: Sequence[float]) -> float:
    """Returns the largest share of a run that lies between two of its readings."""
    return max(later - earlier for earlier, later in pairwise((0.0, *shares)))
