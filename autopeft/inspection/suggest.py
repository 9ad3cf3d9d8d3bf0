"""Rules of thumb from one adapter's spectra for the next search."""

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autopeft.inspection.report import LayerReport

FULL = 0.9
"""Share of the rank above which a spectrum counts as flat (effective rank) and full (significant directions)."""

WASTED = 0.5
"""Share of the rank below which the significant directions leave the rest unused."""

SMALL = 0.25
"""Share of an unfactored update's directions up to which factors are worth naming."""

MANY = 0.25
"""Share of layers that hardly moved from which leaving them out is worth a trial."""


def suggestions(layers: "Sequence[LayerReport]", *, factored: bool = True) -> tuple[str, ...]:
    """Returns what the layers suggest; empty where nothing stands out, or there is no layer.

    Args:
        layers: of one adapter.
        factored: whether their ranks are those of factors, which a search can choose.
    """
    moved = [layer for layer in layers if layer.significant]
    if not layers:
        return ()
    if not moved:
        return ("No layer moved at all: raise the learning rate, or check that training reached the adapter.",)
    return (*(_rank(moved) if factored else _factors(moved)), *_still(layers))


def _rank(layers: "Sequence[LayerReport]") -> list[str]:
    rank = max(layer.rank for layer in layers)
    flat = median(layer.effective_rank / layer.rank for layer in layers)
    used = median(layer.significant / layer.rank for layer in layers)
    if rank > 1 and flat >= FULL and used >= FULL:
        return [f"The spectra are flat and full at rank {rank}: try ranks {2 * rank} and {4 * rank}."]
    if used > WASTED:
        return []
    enough = _enough(layers)
    if enough < rank:
        return [
            f"Most of rank {rank} is unused: {enough} directions hold 99 % of nine layers in ten. Try rank {enough}."
        ]
    return [f"Half of the modules use half of rank {rank} or less, some all of it: try a method that adapts the rank."]


def _factors(layers: "Sequence[LayerReport]") -> list[str]:
    """Returns what low-rank factors would have to hold, where a fraction of the directions do."""
    enough, full = _enough(layers), median(layer.rank for layer in layers)
    if enough > SMALL * full:
        return []
    return [
        f"{enough} directions hold 99 % of nine layers in ten: low-rank factors of rank {enough} could say as much."
    ]


def _enough(layers: "Sequence[LayerReport]") -> int:
    """Returns the directions that hold 99 % of nine layers in ten."""
    return sorted(layer.significant for layer in layers)[int(0.9 * (len(layers) - 1))]


def _still(layers: "Sequence[LayerReport]") -> list[str]:
    still = [layer for layer in layers if layer.hardly_moved]
    if len(still) < MANY * len(layers):
        return []
    kinds, every = (Counter(layer.module.rpartition(".")[2] for layer in part) for part in (still, layers))
    whole = sorted(kind for kind, count in kinds.items() if count == every[kind])
    if whole:
        return [f"{', '.join(whole)} hardly moved in any layer: leave them out of `targets`."]
    depths = sorted({layer.layer for layer in layers if layer.layer is not None})
    quiet = {layer.layer for layer in still}
    moving = [depth for depth in depths if depth not in quiet]
    if moving and max(quiet - {None}, default=0) < min(moving):  # type: ignore[type-var, operator]
        return [f"The first layers hardly moved: try `layers` last:{len(moving)}."]
    return [f"{len(still)} of {len(layers)} modules hardly moved: try fewer `targets` or `layers` gradient:K."]
