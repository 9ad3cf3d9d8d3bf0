"""The search's own clock: wall time without the pauses between a search and its resumption."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

PAUSE_SECONDS = 60.0
"""An idle stretch longer than this is a pause; a search that runs begins its next trial at once."""

_SHOWN = 2.0


class WallTime(NamedTuple):
    """When a trial started and ended; ``end`` is None while it runs."""

    start: datetime
    end: datetime | None


@dataclass(frozen=True)
class Clock:
    """Maps moments to search seconds.

    Attributes:
        begin: when the first trial started.
        cuts: for each pause its end in wall seconds since ``begin``, and the seconds left out up to there.
    """

    begin: datetime | None
    cuts: tuple[tuple[float, float], ...]

    def at(self, moment: datetime) -> float:
        """Returns a moment in search seconds."""
        if self.begin is None:
            return 0.0
        wall = (moment - self.begin).total_seconds()
        return wall - max((cut for end, cut in self.cuts if wall >= end), default=0.0)

    @property
    def pauses(self) -> tuple[float, ...]:
        """Search seconds at which work went on after a pause."""
        return tuple(end - cut for end, cut in self.cuts)


def search_clock(times: Sequence[WallTime]) -> Clock:
    """Returns the clock of trials that ran at such times; a trial that has not ended counts as a moment."""
    if not times:
        return Clock(None, ())
    begin = min(time.start for time in times)
    cuts: list[tuple[float, float]] = []
    busy, left_out = 0.0, 0.0
    for time in sorted(times, key=lambda t: t.start):
        start = (time.start - begin).total_seconds()
        if start - busy > PAUSE_SECONDS:
            left_out += start - busy - _SHOWN
            cuts.append((start, left_out))
        busy = max(busy, start if time.end is None else (time.end - begin).total_seconds())
    return Clock(begin, tuple(cuts))
