"""What the target device would do differently from the meta device: autocast, attention kernels, fused dropout.

Autocast acts in torch's dispatcher on tensors of its device alone, so on meta tensors it is repeated here, from the
lists in https://docs.pytorch.org/docs/stable/amp.html (CUDA ops that autocast). Whether it is on is asked of CPU
autocast, which meta tensors are indifferent to and which gradient checkpointing restores when it recomputes.

Imported by functions only: it needs torch at import.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from autopeft.estimation.tracing.attention import Kernels, attention
from autopeft.estimation.tracing.experts import grouped_product

_LOWER = {
    torch.matmul, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, torch.mm, Tensor.mm, torch.bmm, Tensor.bmm,
    torch.addmm, Tensor.addmm, torch.baddbmm, Tensor.baddbmm, torch.addbmm, torch.einsum, F.linear, F.conv1d,
    F.conv2d, torch.conv1d, torch.conv2d, torch.chain_matmul, torch.mv, Tensor.mv, F.prelu,
}  # fmt: skip
_FULL = {
    torch.pow, Tensor.pow, Tensor.__pow__, Tensor.__rpow__, torch.exp, Tensor.exp, torch.log, Tensor.log,
    torch.log1p, torch.expm1, torch.rsqrt, Tensor.rsqrt, torch.reciprocal, Tensor.reciprocal, Tensor.__rtruediv__,
    F.layer_norm, torch.layer_norm, F.group_norm, F.cross_entropy, F.nll_loss, F.mse_loss, F.smooth_l1_loss,
    F.l1_loss, F.binary_cross_entropy_with_logits, F.kl_div, F.cosine_similarity, F.normalize, F.softplus,
    torch.norm, Tensor.norm, torch.cdist, torch.cumprod, Tensor.cumprod,
}  # fmt: skip
_OPTIONAL = {
    torch.softmax, Tensor.softmax, F.softmax, torch.log_softmax, Tensor.log_softmax, F.log_softmax, torch.sum,
    Tensor.sum, torch.cumsum, Tensor.cumsum, torch.prod, Tensor.prod,
}  # fmt: skip
"""In full precision through their own ``dtype`` argument, where it is not given."""

_CPU_FULL = {
    F.mse_loss, F.nll_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.cross_entropy, F.kl_div, F.ctc_loss,
    F.binary_cross_entropy_with_logits, torch.cdist,
}  # fmt: skip
"""What CPU autocast computes in float32: far less than CUDA's."""

_GROUPED: set[Any] = {F.grouped_mm, torch._grouped_mm}

_SCATTERS = (torch.ops.aten.scatter_.src, torch.ops.aten.scatter_.value)

_HALVES = (torch.float16, torch.bfloat16)


class TargetDevice(TorchFunctionMode):
    """Stands in for the device planned for while the model runs on meta tensors."""

    def __init__(self, kernels: Kernels) -> None:
        """Prepares the mode.

        Args:
            kernels: which device, and which of its attention kernels.
        """
        super().__init__()
        self._kernels = kernels
        self._casts: dict[int, tuple[Tensor, Tensor]] = {}
        cuda = kernels.device != "cpu"
        self._full = _FULL if cuda else _CPU_FULL
        self._optional = _OPTIONAL if cuda else set()
        self._fused_dropout = cuda

    def forget(self) -> None:
        """Drops the cast weights, as the end of an autocast context does."""
        self._casts.clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs a function as the target device would."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            query, key, value, *rest = self._lowered(args) if _autocasting() else args
            return attention(self._kernels, query, key, value, *rest, **kwargs)
        if func in _GROUPED and args[0].dtype != torch.bfloat16:
            return grouped_product(*args, **kwargs)
        if func is F.dropout and self._fused_dropout:
            return _dropout(*args, **kwargs)
        if _autocasting():
            args, kwargs = self._autocast(func, args, kwargs)
        return func(*args, **kwargs)

    def _autocast(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if func in _LOWER:
            return self._lowered(args), {key: self._lower(value) for key, value in kwargs.items()}
        if func in self._full:
            return tuple(_raised(a) for a in args), {key: _raised(value) for key, value in kwargs.items()}
        if func in self._optional and kwargs.get("dtype") is None and _half(args[0] if args else kwargs["input"]):
            # `F.softmax` looks at its own argument only when it is a keyword, as everyone passes it.
            return args, {**kwargs, "dtype": torch.float32}
        return args, kwargs

    def _lowered(self, args: Any) -> tuple[Any, ...]:
        return tuple(self._lower(a) for a in args)

    def _lower(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(self._lower(item) for item in value)
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == torch.float64:
            return value
        dtype = torch.get_autocast_dtype("cpu")
        if value.dtype == dtype:
            return value
        if not (value.is_leaf and value.requires_grad and value.dtype == torch.float32 and value._base is None):
            return value.to(dtype)
        kept = self._casts.get(id(value))
        if kept is None:
            # The weight is kept beside its cast, so that its identity is not another's meanwhile.
            kept = self._casts[id(value)] = (value, value.to(dtype))
        return kept[1]


def _autocasting() -> bool:
    return torch.is_autocast_enabled("cpu")


def _half(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in _HALVES


def _raised(value: Any) -> Any:
    return value.float() if _half(value) else value


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:  # noqa: A002, FBT001, FBT002
    """Returns dropout as CUDA fuses it: the output, and a mask of one byte per value for the backward pass."""
    if not training or p == 0.0 or inplace:
        return F.dropout(input, p, training, inplace)
    return torch.native_dropout(input, p, True)[0]  # noqa: FBT003


@contextmanager
def autocasting(dtype: torch.dtype) -> Iterator[None]:
    """Computes in a dtype as ``torch.autocast`` on the target device would; float32 needs nothing."""
    if dtype == torch.float32:
        yield
        return
    with torch.autocast("cpu", dtype=dtype):
        yield


@contextmanager
def forgetting(target: TargetDevice) -> Iterator[None]:
    """Lets the end of every autocast context drop the cast weights, those of recomputed layers too."""
    original = torch.clear_autocast_cache

    def clear() -> None:
        target.forget()
        original()

    torch.clear_autocast_cache = clear
    try:
        yield
    finally:
        torch.clear_autocast_cache = original


class Staying(TorchDispatchMode):
    """Lets a model be built and a method be attached where both look at weights: what they look at stays numberless.

    A copy to the host stays on the meta device; a number asked for is 0, "are all?" is true and "is any?" is not.
    A mask that was scattered is true in as many places as were scattered to, and a count of values has the length
    that was asked for. Singular vectors lie as the target device's library leaves them: whole rows of them on CUDA,
    whole columns on a CPU, which decides whether a part of them is a view of all or a copy.
    """

    def __init__(self, *, on_cpu: bool = False) -> None:
        """Prepares the mode.

        Args:
            on_cpu: whether the target device is a CPU.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._on_cpu = on_cpu
        self._exceptions: list[Tensor] = []
        self._scattered: dict[int, tuple[Tensor, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation on the meta device."""
        kwargs = dict(kwargs or {})
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            if args[0].dtype != torch.bool:
                return 0
            return not any(args[0] is tensor for tensor in self._exceptions)
        if func is torch.ops.aten._to_copy.default and args[0].is_meta:
            kwargs["device"] = torch.device("meta")
        if func is torch.ops.aten.nonzero.default and (places := self._places(args[0])) is not None:
            return torch.empty((places, args[0].dim()), dtype=torch.int64, device="meta")
        if func is torch.ops.aten.bincount.default and args[0].is_meta:
            return torch.empty(kwargs.get("minlength", 0), dtype=torch.int64, device="meta")
        out = func(*args, **kwargs)
        if func is torch.ops.aten._linalg_svd.default and self._on_cpu:
            left, values, right = out
            return left, values, right.mT.contiguous().mT
        if func is torch.ops.aten.any.default:
            self._exceptions.append(out)
        if func in _SCATTERS:
            self._scatter(out, args[2].numel())
        if func is torch.ops.aten.eq.Scalar and args[1] == 1 and (places := self._places(args[0])) is not None:
            self._scatter(out, places)
        return out

    def _scatter(self, mask: Tensor, places: int) -> None:
        # The mask is kept, so that its storage's address is not another's meanwhile.
        self._scattered[mask.untyped_storage()._cdata] = mask, places

    def _places(self, mask: Tensor) -> int | None:
        """Returns in how many places a mask is true, where that is known."""
        found = self._scattered.get(mask.untyped_storage()._cdata)
        return None if found is None else found[1]
