"""Attention as the target device's kernels do it: what they return, what they keep, what they work in.

Imported by functions only: it needs torch at import.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from autopeft.estimation.tracing.work import report

Kernel = Literal["flash", "varlen", "efficient", "cpu", "math"]
"""``varlen`` is flash over texts on end, which only its own package offers."""

_FLASH = ("flash", "varlen")

_FLASH_ROWS = 128
_EFFICIENT_ROWS = 32
_GRADIENT_ROWS = 64
_WIDEST_FLASH = 256


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """Which attention kernels there are.

    Attributes:
        device: kind of the device planned for: ``cuda``, ``rocm``, ``cpu``, ``mps`` or ``accelerator``.
        flash: whether its flash kernel runs (NVIDIA from compute capability 8.0 on).
        efficient: whether the memory-efficient kernel runs (from 5.0 on).
    """

    device: str
    flash: bool = True
    efficient: bool = True

    def pick(self, query: Tensor, key: Tensor, value: Tensor, *, masked: bool, dropout: float, shared: bool) -> Kernel:
        """Returns the kernel that torch picks, in its order: flash, memory-efficient, mathematical.

        Flash takes 16-bit inputs without a mask; the memory-efficient one takes float32 and masks, but no shared
        heads (torch's ``sdp_utils.cpp``).

        Args:
            query: [rows, heads, positions, width], as the others.
            key: with fewer heads where several queries share them.
            value: as the keys.
            masked: whether there is a mask.
            dropout: its rate.
            shared: whether fewer heads are meant as shared ones, not to be broadcast.
        """
        if query.shape[1] != key.shape[1] and not shared:
            return "math"
        if self.device == "cpu":
            plain = dropout == 0.0 and query.shape[-1] == value.shape[-1]
            return "cpu" if plain else "math"
        half = query.dtype in (torch.float16, torch.bfloat16)
        if self.flash and half and not masked and query.shape[-1] <= _WIDEST_FLASH:
            return "flash"
        if self.efficient and query.shape[1] == key.shape[1]:
            return "efficient"
        return "math"


def attention(
    kernels: Kernels,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,  # noqa: FBT001, FBT002
    scale: float | None = None,
    enable_gqa: bool = False,  # noqa: FBT001, FBT002
) -> Tensor:
    """Returns what ``scaled_dot_product_attention`` returns; shapes [rows, heads, positions, width]."""
    kernel = kernels.pick(query, key, value, masked=attn_mask is not None, dropout=dropout_p, shared=enable_gqa)
    if kernel == "math":
        plain: Tensor = torch.ops.aten._scaled_dot_product_attention_math(
            query, key, value, _bias(attn_mask, query), dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )[0]
        return plain
    if kernel == "flash":
        return flash(query, key, value)
    bias = _bias(attn_mask, query)
    if kernel == "efficient" and bias is not None:
        bias = _padded(bias, 8)
    fused: Tensor = _Fused.apply(query, key, value, bias, kernel)  # type: ignore[no-untyped-call]
    return fused


def flash(query: Tensor, key: Tensor, value: Tensor, kernel: Kernel = "flash") -> Tensor:
    """Returns what a flash kernel returns; shapes [rows, heads, positions, width]."""
    width = value.shape[-1]
    out: Tensor = _Fused.apply(*(_padded(t, 8) for t in (query, key, value)), None, kernel)  # type: ignore[no-untyped-call]
    return out[..., :width]


def _bias(mask: Tensor | None, query: Tensor) -> Tensor | None:
    """Returns a mask as kernels take it: what is added to the scores, in the queries' dtype."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.empty(mask.shape, dtype=query.dtype, device=mask.device)


def _padded(tensor: Tensor, multiple: int) -> Tensor:
    lacking = -tensor.shape[-1] % multiple
    return torch.nn.functional.pad(tensor, (0, lacking)) if lacking else tensor


class _Fused(torch.autograd.Function):
    """A fused kernel: keeps its inputs, its output and one float32 per row of scores."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, kernel: Kernel) -> Tensor:
        rows, heads, positions, _ = query.shape
        out = _laid_out(query, value.shape[-1], kernel)
        lines = _up(positions, _EFFICIENT_ROWS) if kernel == "efficient" else positions
        sums = query.new_empty(rows, heads, lines, dtype=torch.float32)
        count = 0 if kernel == "cpu" else 2  # seed and offset of the random numbers
        random = [torch.empty(2, dtype=torch.int64, device=query.device) for _ in range(count)]
        ctx.save_for_backward(query, key, value, out, sums, *([] if bias is None else [bias]), *random)
        ctx.kernel = kernel
        report("scaled_dot_product_attention", _products(query, key, 2), (query, key, value, out))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        query, key, value, *_ = ctx.saved_tensors
        gradient = gradients[0]
        if ctx.kernel in _FLASH:
            gradient = gradient.transpose(1, 2).contiguous()
        work = _work_space(ctx.kernel, query)
        made = tuple(_laid_out(t, t.shape[-1], ctx.kernel) for t in (query, key, value))
        if ctx.kernel in _FLASH and query.shape[1] != key.shape[1]:
            # Keys and values that heads share get one gradient per head first.
            shape = (*key.shape[:1], key.shape[2], query.shape[1])
            work += tuple(key.new_empty(*shape, t.shape[-1]) for t in (key, value))
        del work, gradient
        # Five products to the forward pass's two: the scores are computed again.
        report("scaled_dot_product_attention_backward", _products(query, key, 5), (query, key, value, *made))
        return *made, None, None


def _products(query: Tensor, key: Tensor, count: int) -> float:
    """Returns the floating-point operations of so many products over all pairs of positions."""
    return 2.0 * count * query.numel() * key.shape[2]


def _laid_out(like: Tensor, width: int, kernel: Kernel) -> Tensor:
    """Returns an output: in its input's layout, but the efficient kernel's is [rows, positions, heads, width]."""
    rows, heads, positions, own = like.shape
    if kernel != "efficient" and own == width:
        return torch.empty_like(like)
    return like.new_empty(rows, positions, heads, width).transpose(1, 2)


def _work_space(kernel: Kernel, query: Tensor) -> tuple[Tensor, ...]:
    """Returns what the backward kernels allocate for themselves: row sums, and float32 gradients of the queries."""
    rows, heads, positions, width = query.shape
    if kernel == "cpu":
        return ()
    if kernel in _FLASH:
        lines = _up(positions, _FLASH_ROWS) if kernel == "flash" else positions + _FLASH_ROWS
        wide = _up(width, 32 if width <= 128 else 64)
        shapes = [(rows, heads, lines), (rows, lines, heads, wide)]
    else:
        shapes = [(rows, heads, _up(positions, _EFFICIENT_ROWS))]
        if query.dtype != torch.float32:
            shapes.append((rows, heads, _up(positions, _GRADIENT_ROWS), _up(width, 32)))
    return tuple(query.new_empty(shape, dtype=torch.float32) for shape in shapes)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
