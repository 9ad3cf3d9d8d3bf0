"""Which layers the data pulls at: gradient norms of the base's weights over a few batches."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from autopeft.data import EncodedDataset, batches
from autopeft.training.run import collate
from autopeft.values.profiles import ModelProfile

BATCHES = 4
ROWS = 16
"""Rows of a batch, at the most; of smaller ones there are so many more that as many rows are seen."""


def layer_gradient_norms(
    model: Any, profile: ModelProfile, dataset: EncodedDataset, *, device: str, seed: int, at_once: int = ROWS
) -> dict[int, float]:
    """Returns the gradient norm of each layer's linear weights, by layer index, over a few batches.

    Each gradient is measured and dropped as soon as it is complete, so that no second copy of the model is held; a
    model that recomputes its activations does so here too.

    Args:
        model: the base model, not quantized; it is left as it was.
        profile: says which modules belong to which layer.
        dataset: the training rows.
        device: torch's name for it.
        seed: of the choice of rows.
        at_once: rows that it has memory for.
    """
    squares: dict[int, float] = defaultdict(float)
    rows = min(ROWS, at_once)
    chosen = list(islice(batches(dataset, rows, seed), BATCHES * ROWS // rows))
    _evaluate(model)
    with _measuring(model, profile, squares):
        for batch in chosen:
            model(**collate(dataset, batch, device)).loss.backward()
    return {layer: squares[layer] ** 0.5 for layer in sorted(squares)}


def _evaluate(model: Any) -> None:
    """Puts a model into evaluation mode in which it recomputes what it would while it trains."""
    model.eval()
    for module in model.modules():
        if getattr(module, "gradient_checkpointing", False):
            # Only what believes that it trains recomputes; its parts do not believe so, and drop nothing.
            module.training = True


def strongest(norms: dict[int, float], count: int) -> tuple[int, ...]:
    """Returns the layers with the largest norms, ascending; the deeper one of two equal layers first."""
    ranked = sorted(norms, key=lambda layer: (-norms[layer], -layer))
    return tuple(sorted(ranked[:count]))


@contextmanager
def _measuring(model: Any, profile: ModelProfile, squares: dict[int, float]) -> Iterator[None]:
    """Adds squared gradient norms by layer while the context lasts."""
    handles, weights = [], []
    for module in profile.modules:
        if module.layer is None or module.kind not in ("linear", "conv1d"):
            continue
        weight = model.get_submodule(module.name).weight
        weights.append((weight, weight.requires_grad))
        weight.requires_grad_(requires_grad=True)
        handles.append(weight.register_post_accumulate_grad_hook(_adding(squares, module.layer)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for weight, required in weights:
            weight.requires_grad_(required)
            weight.grad = None


def _adding(squares: dict[int, float], layer: int) -> Any:
    def add(weight: Any) -> None:
        squares[layer] += float(weight.grad.float().pow(2).sum())
        weight.grad = None

    return add
