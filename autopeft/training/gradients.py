"""Which layers the data pulls at: gradient norms of the base's weights over a few batches."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from autopeft.data import EncodedDataset, batches
from autopeft.training.run import collate
from autopeft.values.profiles import ModelProfile

BATCHES = 4
ROWS = 16


def layer_gradient_norms(
    model: Any, profile: ModelProfile, dataset: EncodedDataset, *, device: str, seed: int
) -> dict[int, float]:
    """Returns the gradient norm of each layer's linear weights, by layer index, over a few batches.

    Each gradient is measured and dropped as soon as it is complete, so that no second copy of the model is held.

    Args:
        model: the base model, not quantized; it is left as it was.
        profile: says which modules belong to which layer.
        dataset: the training rows.
        device: torch's name for it.
        seed: of the choice of rows.
    """
    squares: dict[int, float] = defaultdict(float)
    chosen = [batch for batch, _ in zip(batches(dataset, ROWS, seed), range(BATCHES), strict=False)]
    model.eval()
    with _measuring(model, profile, squares):
        for batch in chosen:
            model(**collate(dataset, batch, device)).loss.backward()
    return {layer: squares[layer] ** 0.5 for layer in sorted(squares)}


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
