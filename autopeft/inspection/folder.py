"""An adapter's folder: its config, its weights, and the low-rank pairs among them."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopeft.errors import ModelError
from autopeft.files import read_json
from autopeft.inspection.tensors import read_tensors

_WEIGHTS = ("adapter_model.safetensors", "trained.safetensors")
_PLAIN, _START = "adapter_config.json", "start_config.json"
"""peft's config, under its own name and under that of an adapter that plain peft must not put beside its base."""

_PICKLED = ("adapter_model.bin", "pytorch_model.bin")
_ENDS = ((".lora_A.weight", ".lora_B.weight"), (".lora_embedding_B", ".lora_embedding_A"))
"""How the names of the first and the second factor end: of a layer, and of an embedding, whose rows are its inputs."""

_PREFIX = "base_model.model."
LOW_RANK = "LORA"
_NOT_A_PRODUCT = ("use_bdlora", "use_qalora", "kasa_config")
"""Variants of it whose saved factors are not the update's: folded, pooled, or with a third one between them."""

_MORE = ("use_dora", "target_parameters", *_NOT_A_PRODUCT)
"""Settings of peft's with which an update is more than scale · up @ down."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One module's update: scale · up @ down."""

    name: str
    down: Any
    up: Any
    scale: float


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """What a folder holds.

    Attributes:
        kind: peft's type in capitals, or the method's name where the format is not peft's.
        config: peft's; empty without one.
        pairs: low-rank updates; empty for other kinds.
        others: every tensor that is in no pair, by its name.
        started: whether the adapter belongs to a base that its method changes too, and began with what that takes.
    """

    kind: str
    config: Mapping[str, Any]
    pairs: tuple[Pair, ...]
    others: Mapping[str, Any]
    started: bool = False

    @property
    def more(self) -> tuple[str, ...]:
        """Settings that make the update more than the product of its pairs."""
        return tuple(name for name in _MORE if self.config.get(name))

    @property
    def parameters(self) -> int:
        """Numbers that the file holds."""
        return sum(int(p.down.size + p.up.size) for p in self.pairs) + sum(int(t.size) for t in self.others.values())


def read_adapter(folder: Path) -> Adapter:
    """Returns the adapter in a folder; only its safetensors file and its JSON are opened.

    Raises:
        ModelError: the folder holds none, holds a pickled one, or its weights are cut short.
        FileFormatError: its config is no JSON.
    """
    path = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        pickled = next((name for name in _PICKLED if (folder / name).is_file()), None)
        if pickled:
            raise ModelError(
                f"{folder / pickled} is a pickle, which can run code when it is opened; only safetensors are read.\n"
                "Load it where you trust it and save it again with safe_serialization=True."
            )
        raise ModelError(f"{folder} holds no adapter: neither {' nor '.join(_WEIGHTS)} is there.{_advice(folder)}")
    config = _config(folder)
    kind = str(config.get("peft_type") or config.get("method") or "unknown")
    tensors = read_tensors(path)
    plain = kind == LOW_RANK and not any(config.get(variant) for variant in _NOT_A_PRODUCT)
    pairs = _pairs(tensors, config) if plain else ()
    paired = {f"{pair.name}{end}" for pair in pairs for ends in _ENDS for end in ends}
    others = {name: tensor for name, tensor in tensors.items() if name.removeprefix(_PREFIX) not in paired}
    return Adapter(kind=kind, config=config, pairs=pairs, others=others, started=_is_start(folder))


def check_finite(adapter: Adapter, folder: Path) -> None:
    """Refuses an adapter of whose numbers nothing can be told.

    Raises:
        ModelError: one of its tensors holds NaN or infinity.
    """
    import numpy as np

    factors = ((pair.name, factor) for pair in adapter.pairs for factor in (pair.down, pair.up))
    for name, tensor in (*factors, *adapter.others.items()):
        if not np.isfinite(tensor).all():
            raise ModelError(
                f"{name} in {folder} holds NaN or infinity: its training diverged.\nTrain it anew with a lower rate."
            )


def _advice(folder: Path) -> str:
    """Returns what may have been meant instead."""
    if not folder.exists():
        return "\nThere is no such folder. One on the hub is fetched first: hf download NAME --local-dir FOLDER."
    if (folder / "config.json").is_file():
        return (
            "\nIt is a whole model, in which an update cannot be told apart: give the adapter that was merged into it."
        )
    return ""


def _is_start(folder: Path) -> bool:
    return (folder / _START).is_file() and not (folder / _PLAIN).is_file()


def _config(folder: Path) -> Mapping[str, Any]:
    for name in (_PLAIN, _START, "trained.json"):
        if (folder / name).is_file():
            content = read_json(folder / name)
            return content if isinstance(content, dict) else {}
    return {}


def _pairs(tensors: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Pair, ...]:
    found = []
    for of_down, of_up in _ENDS:
        for name in (name.removesuffix(of_down) for name in tensors if name.endswith(of_down)):
            if (second := tensors.get(name + of_up)) is not None:
                down, up = tensors[name + of_down], second
                # An embedding's factors are stored the other way round.
                down, up = (down.T, up.T) if of_up.endswith("_A") else (down, up)
                found.append(_pair(name.removeprefix(_PREFIX), down, up, config))
    # A stack of experts shares two factors, a slice for each: their product as a whole is nobody's update.
    stacked = bool(config.get("target_parameters"))
    return tuple(pair for pair in found if not stacked or len(pair.down) == _rank(pair.name, config))


def _pair(module: str, down: Any, up: Any, config: Mapping[str, Any]) -> Pair:
    rank = len(down)
    # A convolution's kernel lies in the first factor's further axes; the second one mixes channels alone.
    flat = {"down": down.reshape(rank, -1), "up": up.reshape(len(up), -1)}
    return Pair(name=module, **flat, scale=_scale(module, rank, config))


def _scale(module: str, rank: int, config: Mapping[str, Any]) -> float:
    alpha = _pattern(config.get("alpha_pattern") or {}, module, config.get("lora_alpha") or rank)
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def _rank(module: str, config: Mapping[str, Any]) -> float:
    return _pattern(config.get("rank_pattern") or {}, module, config.get("r") or 0)


def _pattern(patterns: Mapping[str, Any], module: str, default: float) -> float:
    """Returns the value of the first pattern that the module's name ends in, as peft reads them."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return float(value)
    return float(default)
