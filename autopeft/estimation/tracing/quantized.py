"""bitsandbytes' layers on the meta device: the same tensors come and go as in its CUDA kernels (version 0.50.2).

A 4-bit weight is unpacked and multiplied, as the backward pass always does it. The forward pass does so beyond 1,536
positions (``backends/cuda/ops.py``); below, how far depends on card and shape, a fused kernel may leave the unpacked
weight out: there time and memory are upper bounds.

Imported by functions only: it needs torch and bitsandbytes at import.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from torch import Tensor

from autopeft.estimation.tracing.work import report
from autopeft.quantization import BLOCK, NESTED_BLOCK


@dataclass
class Scales:
    """What a 4-bit weight has beside its codes, on its device.

    Attributes:
        shape: of the weight, outputs first.
        dtype: of the weight before it was quantized, which unpacking returns to.
        codes: the weight itself, two to a byte.
        absmax: one scale per block; a byte each under double quantization.
        rest: code book, offset and nested scales.
    """

    shape: torch.Size
    dtype: torch.dtype
    codes: Tensor
    absmax: Tensor
    rest: tuple[Tensor, ...]
    nested: bool

    def unpacked(self, *, forward: bool) -> Tensor:
        """Returns the weight as a pass unpacks it, its scales first; the forward pass adds their offset in a copy."""
        scales = self.absmax
        if self.nested:
            scales = torch.empty_like(self.absmax, dtype=torch.float32)
            report("dequantize_blockwise", 0.0, (scales, self.absmax))
            if forward:
                scales = scales + self.rest[1]
        weight = torch.empty(self.shape, dtype=self.dtype, device=scales.device)
        # To make room moves nothing; to fill it takes as long as the weight is large, whatever the batch.
        report("dequantize_4bit", 0.0, (weight, self.codes, scales))
        return weight


class Meta4bit(Linear4bit):  # type: ignore[misc]
    """A 4-bit layer without numbers."""

    scales: Scales
    compute_type_is_set: bool

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output in the input's dtype; it is computed in the layer's own."""
        given = x.dtype
        if not self.compute_type_is_set:
            self.set_compute_type(x)
            self.compute_type_is_set = True
        if self.compute_dtype is not None:
            x = x.to(self.compute_dtype)
        bias = self.bias
        if bias is not None:
            if bias.dtype != x.dtype:
                bias.data = bias.data.to(x.dtype)
            bias = bias.to(self.compute_dtype)
        out: Tensor = _Product4bit.apply(x, self.scales, bias)  # type: ignore[no-untyped-call]
        return out.to(given)


class _Product4bit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scales: Scales, bias: Tensor | None) -> Tensor:
        ctx.scales = scales
        return F.linear(x, scales.unpacked(forward=True).to(x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        gradient = gradients[0]
        return torch.matmul(gradient, ctx.scales.unpacked(forward=False).to(gradient.dtype)), None, None


class Meta8bit(Linear8bitLt):  # type: ignore[misc]
    """An 8-bit layer without numbers."""

    row_scales: Tensor
    on_cpu: bool = False

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output in the input's dtype."""
        if self.bias is not None and self.bias.dtype != x.dtype:
            self.bias.data = self.bias.data.to(x.dtype)
        product = _Product8bitFloat if self.on_cpu and self.training else _Product8bit
        # `data`: bitsandbytes' parameter has a `to` of its own.
        out: Tensor = product.apply(x, self.weight.data, self.row_scales, self.bias, self.state.threshold)  # type: ignore[no-untyped-call]
        return out


class _Product8bit(torch.autograd.Function):
    """Integer product of rows quantized on the fly; keeps its input, though only the codes are multiplied."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, scales: Tensor, bias: Tensor | None, threshold: float) -> Tensor:
        shape = x.shape
        flat = x.reshape(-1, shape[-1])
        half = flat.to(torch.float16)
        stats = half.new_empty(half.shape[0], dtype=torch.float32)
        quantized = half.new_empty(half.shape, dtype=torch.int8)
        if threshold > 0.0:
            # Which columns hold outliers, and so are multiplied in 16 bits, only numbers tell; none is assumed.
            (half.abs() >= threshold).any(dim=0)
        del half, stats
        whole = torch.empty(flat.shape[0], codes.shape[0], dtype=torch.int32, device=x.device)
        report("int8_linear_matmul", 2.0 * whole.numel() * flat.shape[1], (quantized, codes, whole))
        del quantized
        out = torch.empty_like(whole, dtype=torch.float16)
        if bias is not None and bias.dtype != torch.float16:
            out.add_(bias)
        ctx.save_for_backward(codes, scales)
        # Held as bitsandbytes holds it: outside what autograd knows as saved.
        ctx.kept, ctx.shape, ctx.dtype = flat, shape, x.dtype
        return out.to(x.dtype).reshape(*shape[:-1], codes.shape[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _input_gradient(ctx, gradients[0]), None, None, None, None


class _Product8bitFloat(torch.autograd.Function):
    """The product as CPUs train with it: the weight is unpacked and multiplied as it is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, scales: Tensor, bias: Tensor | None, _threshold: float) -> Tensor:
        ctx.save_for_backward(codes, scales)
        ctx.kept, ctx.shape, ctx.dtype = x, x.shape, x.dtype
        return F.linear(x, codes.to(x.dtype).mul_(scales.unsqueeze(1).mul(1.0 / 127.0)), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _input_gradient(ctx, gradients[0]), None, None, None, None


def _input_gradient(ctx: Any, gradient: Tensor) -> Tensor:
    codes, scales = ctx.saved_tensors
    flat = gradient.reshape(-1, gradient.shape[-1]).contiguous()
    weight = codes.to(ctx.dtype, copy=True).mul_(scales.unsqueeze(1).mul(1.0 / 127.0))
    return torch.matmul(flat.to(ctx.dtype), weight).view(ctx.shape)


def quantize(model: Any, config: Any, *, dtype: torch.dtype, on_cpu: bool) -> Any:
    """Returns the model with its linear layers replaced as transformers replaces them when it loads quantized.

    Args:
        model: on the meta device.
        config: transformers' ``BitsAndBytesConfig``.
        dtype: of the weights before.
        on_cpu: whether the layers will run on a CPU, where bitsandbytes trains 8-bit ones by another way.
    """
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    # What an architecture keeps in float32 is not quantized either: T5's feed-forward output is read by its dtype.
    kept = [*config.llm_int8_skip_modules, *(model._keep_in_fp32_modules or ())]
    replace_with_bnb_linear(model, kept, config)
    for module in model.modules():
        if isinstance(module, Linear4bit):
            _without_numbers_4bit(module, dtype)
        elif isinstance(module, Linear8bitLt):
            _without_numbers_8bit(module, dtype, on_cpu=on_cpu)
    four = bool(config.load_in_4bit)
    model.is_loaded_in_4bit, model.is_loaded_in_8bit, model.is_quantized = four, not four, True
    return model


def _without_numbers_4bit(module: Any, dtype: torch.dtype) -> None:
    from bitsandbytes.nn import Params4bit

    old, count = module.weight, module.in_features * module.out_features
    packed = torch.empty((count + 1) // 2, 1, dtype=torch.uint8, device="meta")
    blocks, nested = -(-count // BLOCK), bool(old.compress_statistics)
    rest = [torch.empty(16, device="meta")]
    if nested:
        rest += [torch.empty(size, device="meta") for size in ((), (256,), (-(-blocks // NESTED_BLOCK),))]
    absmax = torch.empty(blocks, dtype=torch.uint8 if nested else torch.float32, device="meta")
    shape = torch.Size((module.out_features, module.in_features))
    module.__class__ = Meta4bit
    module.scales = Scales(shape, dtype, packed, absmax, tuple(rest), nested)
    module.weight = Params4bit(
        packed, requires_grad=False, compress_statistics=old.compress_statistics, quant_type=old.quant_type,
        quant_storage=old.quant_storage, module=module, bnb_quantized=True,
    )  # fmt: skip
    module.weight.quant_state = module.quant_state = _state(module.scales, old.quant_type)
    _cast_bias(module, dtype)


def _state(scales: Scales, kind: str) -> Any:
    """Returns what bitsandbytes unpacks a weight by, for methods that ask for the weight itself."""
    from bitsandbytes.functional import QuantState

    code, *nested = scales.rest
    rest: dict[str, Any] = {}
    if nested:
        offset, codes, absmax = nested
        second = QuantState(absmax, code=codes, blocksize=NESTED_BLOCK, dtype=torch.float32)
        rest = {"offset": offset, "state2": second}
    return QuantState(
        scales.absmax, shape=scales.shape, code=code, blocksize=BLOCK, quant_type=kind, dtype=scales.dtype, **rest
    )


def _without_numbers_8bit(module: Any, dtype: torch.dtype, *, on_cpu: bool) -> None:
    from bitsandbytes.nn import Int8Params

    codes = torch.empty(module.out_features, module.in_features, dtype=torch.int8, device="meta")
    module.__class__ = Meta8bit
    module.row_scales, module.on_cpu = torch.empty(module.out_features, device="meta"), on_cpu
    module.weight = Int8Params(codes, requires_grad=False, has_fp16_weights=False)
    module.weight.SCB = module.state.SCB = module.row_scales
    _cast_bias(module, dtype)


def _cast_bias(module: Any, dtype: torch.dtype) -> None:
    if module.bias is not None:
        module.bias.data = module.bias.data.to(dtype)


def scales_of(module: Any) -> tuple[Tensor, ...]:
    """Returns what a quantized layer has beside its weight and bias; nothing for other modules."""
    if isinstance(module, Meta4bit):
        return (module.scales.absmax, *module.scales.rest)
    return (module.row_scales,) if isinstance(module, Meta8bit) else ()
