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
    """Makes a classifier weigh its classes while the context lasts; the model is that of `attach_class_weights`."""
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

    What a method adds to the loss stays as it is: the difference between both cross entropies is added.

    Args:
        model: what is trained, with the method attached: some compute the loss themselves, past the base's own hooks.
            Its output has ``logits`` of shape (rows, classes) or (rows, tokens, classes), and its loss is a mean.
        weights: one per class; the loss is their weighted mean, as in ``torch.nn.CrossEntropyLoss``.
    """
    import torch

    values = torch.tensor(tuple(weights))

    def weigh(_module: Any, _inputs: Any, arguments: Mapping[str, Any], output: Any) -> Any:
        labels = arguments.get("labels")
        if labels is not None:
            rows, wanted = output.logits.float().view(-1, output.logits.shape[-1]), labels.view(-1)
            entropy = torch.nn.functional.cross_entropy
            plain, weighted = entropy(rows, wanted), entropy(rows, wanted, weight=values.to(rows.device))
            output.loss = output.loss - plain + weighted
        return output

    return model.register_forward_hook(weigh, with_kwargs=True)
