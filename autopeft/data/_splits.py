"""Splits rows: stratified by label, repeatable from a seed, and with near-duplicates on one side."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence

from autopeft.errors import DataError

Stratum = str
_BINS = 10


def strata_of_numbers(numbers: Sequence[float]) -> list[Stratum]:
    """Returns a bin of equal size per number, by which regression data are stratified."""
    order = sorted(range(len(numbers)), key=lambda index: numbers[index])
    bins = min(_BINS, max(1, len(numbers) // 10))
    places = {index: str(place * bins // len(numbers)) for place, index in enumerate(order)}
    return [places[index] for index in range(len(numbers))]


def assign(
    groups: Sequence[int],
    strata: Sequence[Stratum],
    fractions: Mapping[str, float],
    seed: int,
    *,
    called: str = "",
    advice: str = "give the splits yourself",
    by_size: bool = False,
) -> dict[str, list[int]]:
    """Returns positions of rows by part, ascending, every row in exactly one part.

    Args:
        groups: the near-duplicate group of each row; a group stays together.
        strata: what each row is stratified by; a group counts by its first row.
        fractions: the share of each part; they add up to 1.
        seed: of the shuffle.
        called: what an error calls the parts together; their names by default.
        advice: what else an error says can be done, beside changing the rows.
        by_size: whether the strata are bins of numbers, not labels; an error calls them so.

    Raises:
        DataError: a stratum has fewer groups than there are parts.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for position, group in enumerate(groups):
        members[group].append(position)
    by_stratum: dict[Stratum, list[list[int]]] = defaultdict(list)
    for positions in members.values():
        by_stratum[strata[positions[0]]].append(positions)
    parts: dict[str, list[int]] = {part: [] for part in fractions}
    for stratum in sorted(by_stratum):
        if len(by_stratum[stratum]) < len(fractions):
            name = _called(stratum, by_size=by_size)
            raise _too_few(name, by_stratum[stratum], called or ", ".join(fractions), advice)
        generator = random.Random(f"{seed}:{stratum}")
        for part, chosen in _fill(by_stratum[stratum], fractions, generator).items():
            parts[part].extend(position for positions in chosen for position in positions)
    return {part: sorted(positions) for part, positions in parts.items()}


def _called(stratum: Stratum, *, by_size: bool) -> tuple[str, str]:
    """Returns what an error calls a stratum, and what it says can be done with it."""
    if by_size:
        return f"Bin {int(stratum) + 1} of the numbers, by size,", "Add rows"
    return (f"The label {stratum!r}", "Add rows, merge or remove the label") if stratum else ("The data", "Add rows")


def _too_few(name: tuple[str, str], groups: Sequence[Sequence[int]], called: str, advice: str) -> DataError:
    what, remedy = name
    rows = sum(map(len, groups))
    return DataError(
        f"{what} has {rows} rows with {len(groups)} distinct texts: too few for {called}, "
        f"which need at least one each.\n{remedy}, or {advice}."
    )


def _fill(
    groups: Sequence[list[int]], fractions: Mapping[str, float], generator: random.Random
) -> dict[str, list[list[int]]]:
    """Returns groups by part: each group, the largest first, goes where most rows are lacking."""
    shuffled = list(groups)
    generator.shuffle(shuffled)
    shuffled.sort(key=len, reverse=True)
    rows = sum(map(len, groups))
    lacking = {part: max(1.0, rows * share) for part, share in fractions.items()}
    chosen: dict[str, list[list[int]]] = {part: [] for part in fractions}
    for group in shuffled:
        part = max(lacking, key=lambda name: lacking[name])
        chosen[part].append(group)
        lacking[part] -= len(group)
    for part in chosen:
        if not chosen[part]:
            richest = max(chosen, key=lambda name: len(chosen[name]))
            chosen[part].append(chosen[richest].pop())
    return chosen
