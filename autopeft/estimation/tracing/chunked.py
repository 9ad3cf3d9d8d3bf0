"""Head and loss for some of the tokens at a time, as Liger's fused linear cross-entropy computes them.

The same tensors come and go as in ``liger_kernel.ops.fused_linear_cross_entropy`` (version 0.6): a chunk has as many
rows as make its logits about as large as the hidden states, its logits turn into their gradients in place, and the
gradient of the hidden states is complete when the forward pass ends.

Imported by functions only: it needs torch at import.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from autopeft.errors import ModelError

IGNORED = -100
"""The label that does not count."""

_SOFTCAP = "final_logit_softcapping"
"""What configs call the bound on logits, which the fused loss applies within itself."""


@contextmanager
def chunked_loss(base: Any) -> Iterator[None]:
    """Lets a model of the meta device compute its loss in chunks: its head hands hidden states on to the loss.

    Raises:
        ModelError: the model's loss is its own, so that none can be put in its place.
    """
    head = base.get_output_embeddings()
    taken: list[Tensor] = []
    config = base.config.get_text_config()
    cap = getattr(config, _SOFTCAP, None)
    head.forward = _handed_on
    base.loss_function = partial(_loss, head, taken)
    if cap is not None:
        setattr(config, _SOFTCAP, None)
    try:
        yield
    finally:
        del head.forward, base._loss_function
        if cap is not None:
            setattr(config, _SOFTCAP, cap)
    if not taken:
        raise ModelError(f"The loss of {type(base).__name__} is its own and cannot be taken in chunks.")


def _handed_on(hidden: Tensor) -> Tensor:
    return hidden


def _loss(head: Any, taken: list[Tensor], logits: Tensor, labels: Tensor, _width: int = 0, **_given: Any) -> Tensor:
    """Returns the loss of hidden states, which the head has handed on in place of logits."""
    labels = torch.nn.functional.pad(labels, (0, 1), value=IGNORED)[..., 1:].contiguous()
    weight, bias = head.weight, getattr(head, "bias", None)
    loss: Tensor = fused_loss(logits.reshape(-1, logits.shape[-1]), weight, bias, labels.reshape(-1))
    taken.append(loss.detach())
    return loss


def fused_loss(hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
    """Returns the mean loss without its number, a scalar.

    Args:
        hidden: [tokens, width].
        weight: of the head, [vocabulary, width].
        bias: of the head, [vocabulary].
        labels: [tokens].
    """
    loss: Tensor = _Fused.apply(hidden, weight, bias, labels)  # type: ignore[no-untyped-call]
    return loss


def chunk_rows(tokens: int, width: int, vocabulary: int) -> int:
    """Returns how many tokens a chunk has."""
    shares = -(-vocabulary // width)
    return int(1 << (-(-tokens // shares) - 1).bit_length())


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
        tokens, width = hidden.shape
        rows = chunk_rows(tokens, width, weight.shape[0])
        made = torch.zeros_like(hidden)
        made_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        made_bias = None if bias is None or not ctx.needs_input_grad[2] else torch.zeros_like(bias)
        losses = hidden.new_zeros(tokens, dtype=torch.float32)
        (labels != IGNORED).sum()
        for start in range(0, tokens, rows):
            some = hidden[start : start + rows]
            logits = some @ weight.t()
            if bias is not None:
                logits = logits + bias
            # Here the kernel turns the logits into their gradients, in place.
            made[start : start + rows] = logits @ weight
            if made_weight is not None:
                made_weight += torch.mm(logits.t(), some).float()
            if made_bias is not None:
                made_bias += logits.sum(dim=0)
        ctx.made = made, made_weight, made_bias
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, *_gradients: Any) -> Any:
        return *ctx.made, None  # multiplied by the loss's gradient in place
