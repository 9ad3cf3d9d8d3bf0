"""What ways to choose a learning rate come to, where a method was measured at several in one setting."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autopeft.methods import get_method
from autopeft.tuning.space import load_space
from autopeft.values.evidence import Run
from benchmarks._evaluate import held_out, interval
from benchmarks._gains import Row
from benchmarks._kinds import kept

FLOORS = (-1.0, 0.33, 0.5, 0.67)
"""Lowest positions in the range of rates searched that a seed is raised to; the first raises none, and a search of
short trials takes the middle (`autopeft.tuning.starts`)."""
SHORT = 100_000
"""Tokens up to which a run is short."""

Array = np.ndarray[Any, Any]
Points = Mapping[float, float]
"""What a method gained, by rate."""
Group = tuple[str, str, str]
"""A setting, a method, and the rest of a configuration without its rate."""


def raced(rows: Sequence[Row]) -> dict[Group, dict[float, list[int]]]:
    """Returns the places of the rows by rate, for what was measured at several rates and differs in nothing else.

    Of losses alone: points of a metric are another unit.
    """
    found: dict[Group, dict[float, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, row in enumerate(rows):
        if row.run.learning_rate is not None and row.unit == "per cent of the loss":
            found[row.run.setting, row.method, _beside_rate(row.run)][row.run.learning_rate].append(place)
    return {key: dict(rates) for key, rates in found.items() if len(rates) > 1}


def _beside_rate(run: Run) -> str:
    """Returns what of a configuration is not its rate."""
    parts = (dict(run.parameters), dict(run.unmapped), run.targets, run.layers, run.quantization, run.optimizer)
    return json.dumps([*parts, run.schedule, run.batch_size], sort_keys=True)


def regrets(rows: Sequence[Row]) -> dict[str, tuple[list[float], list[str]]]:
    """Returns the regrets of each way to choose, with the methods that they are of."""
    groups = _short_races(rows)
    points = np.array([row.points for row in rows])
    predicted = held_out(rows, "method", kept)
    methods = [key[1] for key in groups]
    gained = {key: _means(points, rates) for key, rates in groups.items()}
    ways = {
        "seed's rate": [_seed(key[1], gained[key], FLOORS[0]) for key in groups],
        "surrogate, method left out": [_predicted(gained[key], _means(predicted, groups[key])) for key in groups],
        "raised seed, floor from the other methods": [
            _seed(key[1], gained[key], _floor(gained, key[1])) for key in groups
        ],
        **{f"seed raised to {floor:g}": [_seed(k[1], gained[k], floor) for k in groups] for floor in FLOORS[1:]},
        "random rate": [max(gained[key].values()) - float(np.mean([*gained[key].values()])) for key in groups],
    }
    return {name: (made, methods) for name, made in ways.items()}


def _short_races(rows: Sequence[Row]) -> dict[Group, dict[float, list[int]]]:
    return {key: rates for key, rates in raced(rows).items() if _short(rows, rates)}


def _short(rows: Sequence[Row], rates: Mapping[float, list[int]]) -> bool:
    return all((rows[place].run.tokens or math.inf) <= SHORT for places in rates.values() for place in places)


def _means(values: Array, rates: Mapping[float, list[int]]) -> dict[float, float]:
    return {rate: float(values[places].mean()) for rate, places in rates.items()}


def _seed(name: str, gained: Points, floor: float) -> float:
    """Returns the regret of the measured rate that lies nearest to a method's first seed, raised to a position."""
    method = get_method(name)
    wanted = max(_position(name, method.seeds[0].learning_rate), floor)
    nearest = min(gained, key=lambda rate: abs(_position(name, rate) - wanted))
    return max(gained.values()) - gained[nearest]


def _position(name: str, rate: float) -> float:
    """Returns where a rate lies in the range that is searched for a method, on its logarithm: inside it 0 to 1."""
    searched = load_space(name).learning_rate
    low, high = float(searched.low or 0), float(searched.high or 0)
    return math.log(rate / low) / math.log(high / low)


def _predicted(gained: Points, predicted: Points) -> float:
    return max(gained.values()) - gained[max(predicted, key=lambda rate: predicted[rate])]


def _floor(gained: Mapping[Group, Points], without: str) -> float:
    """Returns the floor that serves the other methods best."""
    others = {key: points for key, points in gained.items() if key[1] != without}
    costs = {floor: np.mean([_seed(key[1], points, floor) for key, points in others.items()]) for floor in FLOORS}
    return min(FLOORS, key=lambda floor: costs[floor])


def lines(rows: Sequence[Row]) -> list[str]:
    """Returns the table, empty where nothing was measured at several rates."""
    behind = len({setting for setting, _, _ in _short_races(rows)})
    if not behind:
        return []
    cells = []
    for name, (made, methods) in regrets(rows).items():
        value, low, high = interval(made, [(method,) for method in methods])
        cells.append(f"| {name} | {value:.1f} ({low:.1f} to {high:.1f}) | {len(made)} | {behind} |")
    return ["| rate | regret, per cent of the loss | configurations | settings |", "|---|---|---|---|", *cells]
