"""What a search begins with, by how far kin are set back: the best measured run among so many first methods."""

from collections import Counter
from collections.abc import Sequence

from autopeft.methods import get_method
from autopeft.recommend.expect import WORTH
from autopeft.tuning.selection import METHODS_TRIED, next_method
from benchmarks._evaluate import Array
from benchmarks._gains import Row

KINS = (0.0, 0.5, 1.0, 2.0, 4.0)
FEWEST_METHODS = 12
"""Measured methods that a setting must have, so that which seven are tried makes a difference."""


def chosen(rows: Sequence[Row], places: Sequence[int], scores: Array, kin: float) -> list[int]:
    """Returns the places of the runs that a search would begin with: of each of its first methods the best scored."""
    best: dict[str, int] = {}
    for place in sorted(places, key=lambda place: -scores[place]):
        best.setdefault(rows[place].method, place)
    begun, families = list[int](), Counter[str]()
    while best and len(begun) < METHODS_TRIED:
        back = kin * WORTH
        name = next_method({name: float(scores[place]) for name, place in best.items()}, families, back)
        begun.append(best.pop(name))
        families[get_method(name).family] += 1
    return begun


def lost(rows: Sequence[Row], places: Sequence[int], scores: Array, kin: float) -> float:
    """Returns what the best run of a setting gained more than the best of those that a search would begin with."""
    return max(rows[place].points for place in places) - max(
        rows[place].points for place in chosen(rows, places, scores, kin)
    )
