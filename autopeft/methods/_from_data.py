"""What some training batches say about the targeted modules: the inputs they see, the gradients they would get."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from autopeft.methods._starts import layers

Batches = Sequence[Mapping[str, Any]]


def covariances(attached: Any, batches: Batches) -> dict[str, Any]:
    """Returns the mean of x xᵀ over the tokens that each LoRA layer sees, padding left out, by the layer's name.

    Each is float32 of shape (in, in).
    """
    import torch

    sums: dict[str, Any] = {}
    counts: dict[str, int] = {}

    def see(layer: Any, inputs: tuple[Any, ...], name: str, mask: Any) -> None:
        del layer
        tokens = _tokens(inputs[0].detach(), mask)
        sums[name] = sums.get(name, 0) + tokens.T @ tokens
        counts[name] = counts.get(name, 0) + len(tokens)

    with _evaluating(attached), torch.no_grad():
        for batch in batches:
            with _hooks(attached, partial(see, mask=batch.get("attention_mask"))):
                attached(**batch)
    return {name: total / counts[name] for name, total in sums.items()}


def _tokens(values: Any, mask: Any) -> Any:
    """Returns rows of float32, those under the mask where it fits."""
    if mask is not None and values.shape[:-1] == mask.shape:
        values = values[mask.bool()]
    return values.reshape(-1, values.shape[-1]).float()


def gradients(attached: Any, batches: Batches) -> dict[str, Any]:
    """Returns the loss's mean gradient with respect to each targeted frozen weight, by the LoRA layer's name.

    Each is float32 of shape (out, in). The frozen weight itself needs no gradient: it is the product of the gradient
    of the layer's output and its input.
    """
    found: dict[str, Any] = {}

    def see(layer: Any, inputs: tuple[Any, ...], output: Any, name: str) -> None:
        del layer
        given = inputs[0].detach()

        def collect(gradient: Any) -> None:
            flat = gradient.reshape(-1, gradient.shape[-1]).float()
            found[name] = found.get(name, 0) + flat.T @ given.reshape(-1, given.shape[-1]).float()

        output.register_hook(collect)

    with _evaluating(attached), _hooks(attached, see, after=True):
        for batch in batches:
            attached(**batch).loss.backward()
    attached.zero_grad(set_to_none=True)
    return {name: total / len(batches) for name, total in found.items()}


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _hooks(attached: Any, see: Callable[..., None], *, after: bool = False) -> Iterator[None]:
    handles = [
        (layer.register_forward_hook if after else layer.register_forward_pre_hook)(partial(see, name=name))
        for name, layer in layers(attached)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
