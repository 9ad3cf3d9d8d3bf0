"""Weighs the classes in a classifier's loss, whoever runs the training."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any


def loss_weight(counted: Any, labels: Any, weights: Sequence[float] | None) -> float:
    """Returns what the mean loss over some labels weighs beside others': how many are counted, or their weights.

    Args:
        counted: which of the labels the loss counts, as the task says; fewer columns where the first has no loss.
        labels: of a batch.
        weights: one per class, None where all count alike.
    """
    if weights is None:
        return float(counted.sum())
    import torch

    return float(torch.tensor(tuple(weights))[labels[counted].cpu()].sum())


@contextmanager
def weighted_loss(model: Any, weights: Sequence[float] | None) -> Iterator[None]:
    """Replaces the loss of a classifier's output by its class-weighted cross entropy while the context lasts."""
    if weights is None:
        yield
        return
    handle = attach_class_weights(model, weights)
    try:
        yield
    finally:
        handle.remove()


def attach_class_weights(model: Any, weights: Sequence[float]) -> Any:
    """Makes a classifier weigh its classes in the loss that it returns, and returns the hook's handle.

    Args:
        model: a task model whose output has ``logits`` of shape (rows, classes) or (rows, tokens, classes).
        weights: one per class; the loss is their weighted mean, as in ``torch.nn.CrossEntropyLoss``.
    """
    import torch

    values = torch.tensor(tuple(weights))

    def replace(_module: Any, _inputs: Any, arguments: Mapping[str, Any], output: Any) -> Any:
        labels = arguments.get("labels")
        if labels is not None:
            logits = output.logits.float()
            weight = values.to(logits.device)
            output.loss = torch.nn.functional.cross_entropy(
                logits.view(-1, logits.shape[-1]), labels.view(-1), weight=weight
            )
        return output

    return model.register_forward_hook(replace, with_kwargs=True)
