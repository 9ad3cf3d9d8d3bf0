"""What an adapter's update looks like, layer by layer, and what that suggests for the next search."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from autopeft.inspection.folder import Adapter, Pair, check_finite, read_adapter
from autopeft.inspection.merged import UnmergeableError, merged_pairs
from autopeft.inspection.spectrum import (
    effective_rank,
    entanglement_profile,
    significant,
    singular_values,
    stable_rank,
)
from autopeft.inspection.suggest import suggestions

HARDLY = 0.1
"""A layer hardly moved whose entries' root mean square is below this share of the median layer's."""

MOST_NUMBERS = 2**21
"""Largest factor, rank times side, that an entanglement profile is computed of."""

_STARTS_AT_ZERO = (None, True, "gaussian")


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """One module's update.

    Attributes:
        layer: the transformer layer it stands in, None where its name has no number.
        rank: of the factors; of a merged difference, directions above a thousandth of the largest.
        norm: Frobenius norm of the scaled update.
        rms: root mean square of the update's entries, which compares modules of different sizes.
        effective_rank: exponential of the singular values' entropy; at most the rank.
        stable_rank: squared Frobenius norm over squared largest singular value.
        significant: directions that hold 99 % of the squared norm.
        spectrum: singular values, descending.
        entanglement: entropies at the cuts of the update as a matrix product state, in nats, the cut between rows
            and columns among them; see `entanglement_profile`.
    """

    name: str
    layer: int | None
    rank: int
    norm: float
    rms: float
    effective_rank: float
    stable_rank: float
    significant: int
    spectrum: tuple[float, ...]
    entanglement: tuple[float, ...]
    hardly_moved: bool = False

    @property
    def module(self) -> str:
        """What the module is called in every layer: its name after the layer's number, an expert's own left out."""
        return re.sub(r"\[\d+\]$", "", re.split(r"\.\d+\.", self.name)[-1])


@dataclass(frozen=True, kw_only=True)
class AdapterReport:
    """An adapter as inspected.

    Attributes:
        kind: peft's type, or the method's name.
        layers: the updates of weights; empty where they could not be had.
        norms: Frobenius norm of every other tensor by name.
        hardly_moved: share of the layers that hardly moved; None without layers.
        suggestions: for the next search, one sentence each: rules of thumb on this one adapter.
    """

    folder: str
    kind: str
    base_model: str
    layers: tuple[LayerReport, ...]
    norms: dict[str, float]
    hardly_moved: float | None
    suggestions: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


def inspect_adapter(folder: str | Path, base: str | None = None) -> AdapterReport:
    """Returns what the adapter in a folder does to its model.

    Pairs of low-rank factors are read from the adapter's file alone, without torch. Anything else that merges is
    merged into its base, and the difference is looked at; what does not has the norms of its tensors.

    Args:
        folder: with the adapter in safetensors.
        base: the base model's folder or name, where it is not the one that the adapter names.

    Raises:
        ModelError: there is no adapter, it is pickled, cut short, or holds NaN or infinity.
    """
    import numpy as np

    place = Path(folder)
    adapter = read_adapter(place)
    check_finite(adapter, place)
    whole = bool(adapter.pairs) and not adapter.more
    pairs, notes = (adapter.pairs, []) if whole else _merged(place, adapter, base)
    layers = _marked([_layer(pair) for pair in pairs])
    share = sum(layer.hardly_moved for layer in layers) / len(layers) if layers else None
    factored = pairs is adapter.pairs
    return AdapterReport(
        folder=str(folder),
        kind=adapter.kind,
        base_model=str(base or adapter.config.get("base_model_name_or_path") or ""),
        layers=layers,
        norms={name: float(np.linalg.norm(tensor)) for name, tensor in adapter.others.items()},
        hardly_moved=share,
        suggestions=suggestions(layers, factored=factored),
        notes=(*notes, *(_notes(adapter) if factored else ())),
    )


def _merged(folder: Path, adapter: Adapter, base: str | None) -> tuple[tuple[Pair, ...], list[str]]:
    """Returns the update by merging; else what the file tells, and why it could not be had."""
    try:
        pairs = tuple(merged_pairs(folder, adapter, base))
    except UnmergeableError as error:
        return adapter.pairs, [str(error)]
    return pairs, ["The numbers are of the difference that merging makes to the base's weights."]


def _layer(pair: Pair) -> LayerReport:
    values = singular_values(pair.down, pair.up, pair.scale)
    norm = float((values**2).sum() ** 0.5)
    number = re.search(r"\.(\d+)\.", pair.name)
    return LayerReport(
        name=pair.name,
        layer=int(number[1]) if number else None,
        rank=len(pair.down),
        norm=norm,
        rms=norm / (pair.up.shape[0] * pair.down.shape[1]) ** 0.5,
        effective_rank=effective_rank(values),
        stable_rank=stable_rank(values),
        significant=significant(values),
        spectrum=tuple(float(value) for value in values),
        entanglement=entanglement_profile(pair.down, pair.up) if _affordable(pair) else (),
    )


def _affordable(pair: Pair) -> bool:
    """Whether a profile takes seconds at most: full-rank updates of large weights would take minutes each."""
    return int(len(pair.down) * max(len(pair.up), pair.down.shape[1])) <= MOST_NUMBERS


def _marked(layers: Sequence[LayerReport]) -> tuple[LayerReport, ...]:
    from dataclasses import replace

    if not layers:
        return ()
    limit = HARDLY * median(layer.rms for layer in layers)
    return tuple(replace(layer, hardly_moved=layer.rms <= limit) for layer in layers)


def _notes(adapter: Adapter) -> tuple[str, ...]:
    notes = []
    start = adapter.config.get("init_lora_weights")
    if start not in _STARTS_AT_ZERO:
        notes.append(f"The adapter began as {start!r}: where that start is not zero, it is part of what is shown.")
    if adapter.started:
        notes.append("The adapter began as the repair of a quantized base: that start is part of what is shown.")
    if adapter.more and adapter.pairs:
        more = ", ".join(f"`{name}`" for name in adapter.more)
        notes.append(f"With {more} the update is more than the pairs of factors whose numbers these are. Name --base.")
    if not adapter.pairs:
        notes.append(f"{adapter.kind} has norms of its tensors alone.")
    return tuple(notes)
