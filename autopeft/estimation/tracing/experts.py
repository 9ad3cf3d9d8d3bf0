"""The product of sorted tokens with their experts' weights, for the dtypes that torch's meta kernel leaves out.

Imported by functions only: it needs torch at import.
"""

from typing import Any

import torch
from torch import Tensor

from autopeft.estimation.tracing.work import report


def grouped_product(tokens: Tensor, weights: Tensor, **_options: Any) -> Tensor:
    """Returns tokens [T, in] times the weights [experts, in, out] of the group each token is in, [T, out]."""
    product: Tensor = _GroupedProduct.apply(tokens, weights)  # type: ignore[no-untyped-call]
    return product


class _GroupedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weights: Tensor) -> Tensor:
        # Frozen weights need no gradient, so the tokens are not kept for it.
        ctx.save_for_backward(tokens if ctx.needs_input_grad[1] else None, weights)
        ctx.shape = tokens.shape
        report("grouped_mm", 2.0 * tokens.numel() * weights.shape[-1], (tokens, weights))
        return tokens.new_empty(tokens.shape[0], weights.shape[-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        _, weights = ctx.saved_tensors
        first, second = ctx.needs_input_grad
        made = gradients[0].new_empty(ctx.shape) if first else None
        return made, torch.empty_like(weights) if second else None
