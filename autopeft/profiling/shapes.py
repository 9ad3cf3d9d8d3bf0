"""The modules of a task model that own weights, as values."""

import re
from collections.abc import Iterator
from typing import Any

from autopeft.profiling.roles import is_output_embedding, linear_role
from autopeft.values.names import ModelKind, Role
from autopeft.values.profiles import ModuleShape

_LAYER = re.compile(r"^(?P<container>.*?)\.(?P<index>\d+)(?:\.|$)")
_OTHER_SENSES = re.compile("vision|visual|audio")
"""Towers beside the language model: their layers are numbered from 0 too, and are no layers of it."""


def module_shapes(model: Any, kind: ModelKind, *, fresh_head: bool) -> tuple[ModuleShape, ...]:
    """Returns every module with own parameters, in the order of ``named_modules()``.

    A module whose weight is tied to an earlier one is listed with what is left to count, perhaps nothing.

    Args:
        model: a task model, on any device; the meta device holds no weights and is enough.
        kind: decides how layers are numbered: a seq2seq decoder counts on after its encoder.
        fresh_head: whether what stands outside the base model is a head that starts untrained.
    """
    seen: set[int] = set()
    base = _base_names(model) if fresh_head else set()
    depth = _encoder_depth(model) if kind == "seq2seq" else 0
    return tuple(
        _shape(name, module, seen, head=fresh_head and name.split(".")[0] not in base, depth=depth)
        for name, module in _owners(model)
    )


def _owners(model: Any) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        if any(parameter is not None for parameter in module._parameters.values()):
            yield name, module


def _base_names(model: Any) -> set[str]:
    """Returns the top-level names that make up the base: the declared one, else those that hold the layers."""
    children = {name for name, _ in model.named_children()}
    if model.base_model_prefix in children:
        return {model.base_model_prefix}
    return {name.split(".")[0] for name, _ in model.named_modules() if _LAYER.match(name)}


def _encoder_depth(model: Any) -> int:
    """Returns how many layers the encoder of a seq2seq model has."""
    found = (_LAYER.match(name) for name, _ in model.named_modules())
    return max((int(m["index"]) + 1 for m in found if m and not _in_decoder(m["container"])), default=0)


def _in_decoder(container: str) -> bool:
    # An encoder-decoder pair repeats the word below its own halves: the outermost one tells the half.
    halves = [part for part in container.split(".") if part in ("encoder", "decoder")]
    return halves[:1] == ["decoder"]


def _layer(name: str, depth: int) -> int | None:
    found = _LAYER.match(name)
    if not found or _OTHER_SENSES.search(found["container"]):
        return None
    return int(found["index"]) + (depth if _in_decoder(found["container"]) else 0)


def _shape(name: str, module: Any, seen: set[int], *, head: bool, depth: int) -> ModuleShape:
    own = {key: value for key, value in module._parameters.items() if value is not None}
    fresh = [value for value in own.values() if id(value) not in seen]
    seen.update(id(value) for value in fresh)
    weight = own.get("weight", next(iter(own.values())))
    kind = _kind(module, weight)
    inputs, outputs = _features(kind, weight)
    layer = None if head else _layer(name, depth)
    return ModuleShape(
        name=name, kind=kind, role=_role(name, kind, layer=layer, head=head), in_features=inputs,
        out_features=outputs, bias="bias" in own, parameters=sum(value.numel() for value in fresh), layer=layer,
        head=head,
    )  # fmt: skip


def _kind(module: Any, weight: Any) -> Any:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, Conv1D):
        return "conv1d"
    if isinstance(module, nn.Embedding):
        return "embedding"
    return "norm" if "norm" in type(module).__name__.lower() and weight.dim() == 1 else "other"


def _features(kind: str, weight: Any) -> tuple[int, int]:
    """Returns input and output width; experts stacked in one parameter (E, out, in) report one expert's."""
    if weight.dim() < 2:
        return weight.numel(), weight.numel()
    if kind in ("conv1d", "embedding"):
        return weight.shape[0], weight.shape[1]
    return weight.shape[-1], weight.shape[-2]


def _role(name: str, kind: str, *, layer: int | None, head: bool) -> Role:
    if head or is_output_embedding(name):
        return "head"
    if kind in ("embedding", "norm"):
        return "embedding" if kind == "embedding" else "norm"
    if kind == "other" or layer is None:
        return "other"
    return linear_role(name)
