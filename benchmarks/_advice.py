"""What the recommender would have said of a pool's runs before any of them was measured."""

from collections.abc import Sequence
from dataclasses import replace

from autopeft.values.evidence import Run
from benchmarks._arms import Pool
from benchmarks._gains import rows
from benchmarks._kinds import kept


def advised(pool: Pool, runs: Sequence[Run]) -> Pool:
    """Returns the pool with its runs in the order in which a surrogate expects them to gain.

    The surrogate is fitted to runs that share neither script or repository nor training data with the pool's. Runs that
    cannot be described are not in the order; none is where the pool has no plain LoRA to gain over.
    """
    every = rows(runs)
    own = [row for row in every if row.run.setting == pool.name]
    seen = {row.address for row in own}, {row.trained_on for row in own}
    others = [row for row in every if row.address not in seen[0] and row.trained_on not in seen[1]]
    if not own or not others:
        return pool
    expected = dict(zip((row.run.name for row in own), kept(others)(own), strict=True))
    known = [place for place, arm in enumerate(pool.arms) if arm.name in expected]
    return replace(pool, advice=tuple(sorted(known, key=lambda place: -expected[pool.arms[place].name])))
