"""What some training batches say about the targeted modules: the inputs they see, the gradients they would get.

All matrices together are as large as the model in float32, or larger: no more of them are held at once than
`PASS_BYTES` allows, and the batches are gone over as often as that takes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from autopeft.methods._starts import layers
from autopeft.values.names import Dtype

Batches = Sequence[Mapping[str, Any]]
Layers = list[tuple[str, Any]]

PASS_BYTES = 2**30
"""Matrices of one pass; a single larger one has a pass of its own."""

_NUMBER = 4
"""Bytes of a float32 number."""

_SCALE = 2.0**10
"""What a loss is multiplied by where gradients are float16, which has no number below 6e-8."""

_UNCOUNTED = -100
"""Label of what is no text."""


def covariances(attached: Any, batches: Batches, dtype: Dtype) -> Iterator[tuple[str, Any]]:
    """Yields the mean of x xᵀ over the tokens that each LoRA layer sees, padding left out, by the layer's name.

    Each is float32 of shape (in, in); a layer that no batch calls has none. The model must stay as it is meanwhile.

    Args:
        attached: with LoRA's layers.
        batches: the model's arguments.
        dtype: that training computes in.
    """
    for group in _groups(attached, lambda layer: layer.in_features**2):
        yield from _covariances(attached, group, batches, dtype).items()


def _covariances(attached: Any, group: Layers, batches: Batches, dtype: Dtype) -> dict[str, Any]:
    import torch

    sums: dict[str, Any] = {}
    counts: dict[str, int] = {}
    pair = bool(getattr(attached.get_base_model().config, "is_encoder_decoder", False))

    def see(layer: Any, inputs: tuple[Any, ...], name: str, batch: Mapping[str, Any]) -> None:
        del layer
        tokens = _tokens(inputs[0].detach(), _masks(batch, own=pair and "decoder" in name.split(".")))
        _add(sums, name, tokens, tokens)
        counts[name] = counts.get(name, 0) + len(tokens)

    with _evaluating(attached), torch.no_grad():
        for batch in batches:
            with _hooks(group, partial(see, batch=batch)), _computing(attached, dtype):
                attached(**batch)
    return {name: total.div_(counts[name]) for name, total in sums.items() if counts[name]}


def _masks(batch: Mapping[str, Any], *, own: bool) -> list[Any]:
    """Returns what tells text from padding, the likeliest first.

    Args:
        batch: the model's arguments.
        own: for a decoder beside an encoder: its own text is the labels', that which it reads is the encoder's.
    """
    found = [batch["labels"] != _UNCOUNTED] if own and "labels" in batch else []
    mask = batch.get("attention_mask")
    return found if mask is None else [*found, mask.bool()]


def _tokens(values: Any, masks: Sequence[Any]) -> Any:
    """Returns rows of values, those under the first mask with a place for each; choices of a row are rows by then."""
    places = values.shape[:-1]
    for mask in masks:
        if mask.numel() == places.numel():
            return values[mask.reshape(places)]
    return values.reshape(-1, values.shape[-1])


def gradients(attached: Any, batches: Batches, dtype: Dtype) -> Iterator[tuple[str, Any]]:
    """Yields the loss's mean gradient with respect to each targeted frozen weight, by the LoRA layer's name.

    Each is float32 of shape (out, in); a layer that no batch calls has none. The frozen weight itself needs no
    gradient: it is the product of the gradient of the layer's output and its input. The arguments are those of
    `covariances`.
    """
    for group in _groups(attached, lambda layer: layer.in_features * layer.out_features):
        yield from _gradients(attached, group, batches, dtype).items()


def _gradients(attached: Any, group: Layers, batches: Batches, dtype: Dtype) -> dict[str, Any]:
    found: dict[str, Any] = {}
    scale = _SCALE if dtype == "float16" else 1.0

    def see(layer: Any, inputs: tuple[Any, ...], output: Any, name: str) -> None:
        del layer
        given = inputs[0].detach()

        def collect(gradient: Any) -> None:
            _add(found, name, gradient.reshape(-1, gradient.shape[-1]), given.reshape(-1, given.shape[-1]))

        output.register_hook(collect)

    with _evaluating(attached), _hooks(group, see, after=True):
        for batch in batches:
            with _computing(attached, dtype):
                loss = attached(**batch).loss
            (loss * scale).backward()
    attached.zero_grad(set_to_none=True)
    return {name: total.div_(len(batches) * scale) for name, total in found.items()}


def _add(sums: dict[str, Any], name: str, left: Any, right: Any) -> None:
    """Adds leftᵀ right to a sum, in float32 whatever its surroundings compute in."""
    import torch

    with torch.autocast(left.device.type, enabled=False):
        product = left.float().T @ right.float()
    sums[name] = sums[name].add_(product) if name in sums else product


def _groups(attached: Any, entries: Callable[[Any], int]) -> Iterator[Layers]:
    """Yields the LoRA layers in the model's order, as many at once as a pass may hold matrices of these sizes for."""
    group: Layers = []
    held = 0
    for name, layer in layers(attached):
        size = _NUMBER * entries(layer)
        if group and held + size > PASS_BYTES:
            yield group
            group, held = [], 0
        group.append((name, layer))
        held += size
    if group:
        yield group


def _computing(model: Any, dtype: Dtype) -> AbstractContextManager[Any]:
    """Returns what training computes in: what trains is float32 beside a base of 16 bits."""
    import torch

    device = next(model.parameters()).device.type
    return torch.autocast(device, dtype=getattr(torch, dtype), enabled=dtype != "float32")


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _hooks(group: Layers, see: Callable[..., None], *, after: bool = False) -> Iterator[None]:
    handles = [
        (layer.register_forward_hook if after else layer.register_forward_pre_hook)(partial(see, name=name))
        for name, layer in group
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
