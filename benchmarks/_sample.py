"""The designed sample: settings and, in each, the candidates that are measured beside the default recipe."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from autopeft.methods import all_methods, baseline
from autopeft.tuning.proposal import dimensions
from autopeft.tuning.space import Range, load_space, resolved_layers
from autopeft.values.candidates import Candidate
from autopeft.values.names import ParameterValue

T = TypeVar("T")

METHODS = (
    "lora", "rslora", "dora", "pissa", "adalora", "loha", "lokr", "vera", "mora", "hira", "miss", "lily", "randlora",
    "oft", "boft", "hra", "fourierft", "c3a", "ia3", "road", "bitfit", "ln_tuning", "shira", "houlsby_adapter",
    "pfeiffer_adapter", "parallel_adapter", "compacter", "prefix_tuning", "prompt_tuning", "p_tuning", "full",
)  # fmt: skip
"""Methods sampled: of every family, those that a reader asks for first."""

ALWAYS = 2
"""Candidates that every setting has: the default recipe, and its method's first seed."""
REFERENCE_BATCH = 16
ROWS = (100, 4000)
TOKENS = (6_000, 20_000)
WIDEST = 16
"""Dimensions of a candidate's point: a method's parameters and the six things that every method has."""


@dataclass(frozen=True, kw_only=True)
class SampleSetting:
    """Where candidates are compared.

    Attributes:
        model: an asset, with ``-N`` for its first N layers: ``minilm-2``.
        data: an asset.
        rows: most training rows.
        tokens: budget of each run.
    """

    model: str
    data: str
    rows: int
    tokens: int

    @property
    def name(self) -> str:
        """Names it in the evidence."""
        return f"own {self.model} {self.data} {self.rows} rows {self.tokens} tokens"


def settings(models: Sequence[str], data: Sequence[str], count: int, seed: int) -> list[SampleSetting]:
    """Returns settings spread over models, data, rows and tokens by a scrambled Sobol sequence."""
    points = sobol(4, count, seed)
    return [
        SampleSetting(
            model=_choice(models, point[0]), data=_choice(data, point[1]), rows=round(_log(ROWS, point[2])),
            tokens=100 * round(_log(TOKENS, point[3]) / 100),
        )
        for point in points
    ]  # fmt: skip


def candidates(index: int, depth: int, count: int, seed: int, methods: Sequence[str] = METHODS) -> Iterator[Candidate]:
    """Yields the candidates of a setting: the default recipe, its method's first seed, then a part of the design.

    Args:
        index: of the setting: each takes the next points of one sequence over all settings.
        depth: layers of the setting's model.
        count: candidates in all.
        seed: of the sequence.
        methods: to draw from.
    """
    name, recipe = baseline("default")
    for seeded in (recipe, all_methods()[name].seeds[0])[:count]:
        yield Candidate(
            method=name, parameters=dict(seeded.parameters), targets=seeded.targets,
            learning_rate=seeded.learning_rate, batch_size=REFERENCE_BATCH,
        )  # fmt: skip
    drawn = max(0, count - ALWAYS)
    for point in sobol(WIDEST, (index + 1) * drawn, seed)[index * drawn :]:
        yield candidate(_choice(methods, point[0]), depth, point[1:])


def candidate(method: str, depth: int, point: Sequence[float]) -> Candidate:
    """Returns the candidate of a method at a point of the unit cube, each dimension over its searched range."""
    space = load_space(method)
    space = replace(space, layers=resolved_layers(space.layers, depth, gradients=True))
    own = dimensions(space)
    values = {key: _value(own[key].searched, at, integer=own[key].integer) for key, at in zip(own, point, strict=False)}
    return Candidate(
        method=method,
        parameters={key: values[key] for key in space.parameters},
        targets=str(values["targets"]), layers=str(values["layers"]), optimizer=str(values["optimizer"]),
        learning_rate=float(f"{float(values['learning_rate']):.3g}"), batch_size=int(values["batch_size"]),
    )  # fmt: skip


def sobol(dimension: int, count: int, seed: int) -> list[list[float]]:
    """Returns the first points of a scrambled Sobol sequence, the same for the same seed however many are asked for."""
    from scipy.stats.qmc import Sobol

    exponent = max(1, math.ceil(math.log2(max(count, 2))))
    points: list[list[float]] = Sobol(dimension, scramble=True, rng=seed).random_base2(exponent)[:count].tolist()
    return points


def _choice(values: Sequence[T], at: float) -> T:
    return values[min(int(at * len(values)), len(values) - 1)]


def _log(bounds: tuple[float, float], at: float) -> float:
    low, high = bounds
    return float(low * (high / low) ** at)


def _value(searched: Range, at: float, *, integer: bool) -> ParameterValue:
    if searched.choices or searched.low is None or searched.high is None:
        return _choice(searched.choices, at)
    bounds = (float(searched.low), float(searched.high))
    value = _log(bounds, at) if searched.log else bounds[0] + at * (bounds[1] - bounds[0])
    return round(value) if integer else float(f"{value:.3g}")
