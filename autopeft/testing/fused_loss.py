"""Head and loss in chunks, computed for good: the reference for what the trace takes such a loss to do.

Liger's kernels need a GPU. This is their algorithm in torch, on any device: slow, one token at a time where a kernel
works in place.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from autopeft.estimation.tracing import chunked


@contextmanager
def chunked_loss(base: Any) -> Iterator[None]:
    """Lets a model compute its loss in chunks, with gradients."""
    stand_in = chunked.fused_loss
    chunked.fused_loss = fused_loss
    try:
        with chunked.chunked_loss(base):
            yield
    finally:
        chunked.fused_loss = stand_in


def fused_loss(hidden: Any, weight: Any, bias: Any, labels: Any) -> Any:
    """Returns the mean cross-entropy over the labels that count; the arguments are those of the stand-in."""
    return _function().apply(hidden, weight, bias, labels)


def _function() -> Any:
    import torch

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, hidden: Any, weight: Any, bias: Any, labels: Any) -> Any:
            tokens, width = hidden.shape
            rows = chunked.chunk_rows(tokens, width, weight.shape[0])
            made, losses = torch.zeros_like(hidden), hidden.new_zeros(tokens, dtype=torch.float32)
            made_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
            counting = int((labels != chunked.IGNORED).sum())
            for start in range(0, tokens, rows):
                some, wanted = hidden[start : start + rows], labels[start : start + rows]
                logits = some @ weight.t()
                if bias is not None:
                    logits = logits + bias
                for place, label in enumerate(wanted.tolist()):
                    losses[start + place] = _in_place(logits[place], label, counting)
                made[start : start + rows] = logits @ weight
                if made_weight is not None:
                    made_weight += torch.mm(logits.t(), some).float()
            ctx.made = made, made_weight
            return losses.sum()

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            for made in ctx.made:
                if made is not None:
                    made.mul_(gradients[0])
            return *ctx.made, None, None

    return Fused


def _in_place(logits: Any, label: int, counting: int) -> Any:
    """Returns one token's share of the loss and turns its logits into their gradients."""
    import torch

    if label == chunked.IGNORED:
        logits.zero_()
        return 0.0
    chances = torch.log_softmax(logits.float(), dim=0)
    loss = -chances[label] / counting
    logits.copy_(chances.exp_())
    logits[label] -= 1.0
    logits.div_(counting)
    return loss
