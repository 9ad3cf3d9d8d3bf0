"""A race of learning rates: all train to the first share of the budget, the better half to the next, the best home.

Who decides and who trains are apart, so that the laps of one round can be trained one after the other or side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from autopeft.errors import DivergedError
from autopeft.tasks import Predictions
from autopeft.values.candidates import Candidate

RACE_SHARES = (0.25, 0.5, 1.0)
"""Where a race halves its field, and its end."""


@dataclass(frozen=True, kw_only=True)
class Performance:
    """A contender as trained: what it said on validation and on test, row by row."""

    candidate: Candidate
    validation: Predictions
    test: Predictions
    tokens: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Lap:
    """What came of one lap.

    Attributes:
        loss: held-out loss at its end; infinite for a rate that diverged, or has no loss.
        tokens: that it took.
        seconds: that it took, its scoring with them.
        state: what the next lap goes on from, as the track holds it; None from the start.
    """

    loss: float
    tokens: int
    seconds: float
    state: Any


@dataclass(frozen=True, kw_only=True)
class Fallen:
    """A rate that diverged in its last lap, after so many tokens and seconds."""

    tokens: int
    seconds: float
    error: str


class Track(Protocol):
    """Trains what races."""

    def laps(self, field: Sequence[tuple[Candidate, Any]], share: float, seconds: float) -> list[Lap]:
        """Returns what came of a lap of each, from its state to a share of the budget, in the order of the field.

        Whoever is not there when the seconds are over stops where it is.
        """
        ...

    def home(self, candidate: Candidate, state: Any, seconds: float) -> Performance | Fallen:
        """Returns the performance at the end of the budget or of the seconds; it tells of this lap's alone."""
        ...


def run_race(track: Track, candidate: Candidate, rates: Sequence[float], seconds: float) -> Performance:
    """Returns the best rate's performance, its tokens those of all rates and its seconds those of all laps.

    Args:
        track: trains.
        candidate: what races, whatever rate it names.
        rates: one runs the whole budget at once.
        seconds: of training that the race may take; to wait for a process that is free takes none.

    Raises:
        DivergedError: in their last laps all rates diverged that had come so far.
    """
    spent, trained = 0, 0.0
    standing: list[tuple[Candidate, Any]] = [(replace(candidate, learning_rate=rate), None) for rate in rates]
    for number, share in enumerate(RACE_SHARES[:-1] if len(rates) > 1 else ()):
        field = standing[: max(1, len(rates) // 2**number)]
        laps = track.laps(field, share, max(0.0, seconds - trained))
        spent, trained = spent + sum(lap.tokens for lap in laps), trained + sum(lap.seconds for lap in laps)
        ranked = sorted(zip(laps, field, strict=True), key=lambda each: (each[0].loss, each[1][0].learning_rate))
        standing = [(entered, lap.state) for lap, (entered, _) in ranked]
    fallen = ""
    for entered, state in standing:  # who falls in its last lap gives way to the next
        found = track.home(entered, state, max(0.0, seconds - trained))
        spent, trained = spent + found.tokens, trained + found.seconds
        if isinstance(found, Performance):
            return replace(found, tokens=spent, seconds=trained)
        fallen = found.error
    raise DivergedError(fallen) if fallen else RuntimeError("A race was asked for without rates.")
