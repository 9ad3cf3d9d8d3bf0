"""Attention that is chosen rather than left to torch: eager, or FlashAttention's package as transformers calls it.

FlashAttention takes no mask. transformers lays the rows of a padded batch on end without their padding, and packed
texts as they are, and says where each begins. Its own code does so here too; its kernels are those that stand in for
torch's, which were made from it (version 2).

Imported by functions only: it needs torch and transformers at import.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, modeling_flash_attention_utils
from transformers.integrations import flash_attention
from transformers.masking_utils import AttentionMaskInterface, flash_attention_mask

from autopeft.errors import ModelError
from autopeft.estimation.practice import Attention
from autopeft.estimation.tracing.attention import Kernel, flash

NAME = "autopeft_padding_free"
"""What the attention is registered as: transformers looks for the package behind names that speak of flash."""


def choose_attention(base: Any, attention: Attention) -> None:
    """Sets a model's attention; what transformers chooses by itself stays.

    Raises:
        ModelError: the model has only its own.
    """
    if attention == "sdpa":
        return
    AttentionInterface.register(NAME, flash_attention.flash_attention_forward)
    AttentionMaskInterface.register(NAME, flash_attention_mask)
    name = NAME if attention == "flash" else attention
    base.set_attn_implementation(name)
    if base.config._attn_implementation != name:
        raise ModelError(f"{type(base).__name__} has only its own attention.")


@contextmanager
def padding_free(*, packing: bool) -> Iterator[None]:
    """Lets transformers' code for FlashAttention run on meta tensors: what asks for numbers or a package is told.

    Args:
        packing: whether rows hold several texts.
    """
    told: dict[Any, dict[str, Any]] = {
        modeling_flash_attention_utils: {
            "lazy_import_flash_attention": _kernels,
            "_get_unpad_data": _unpadded,
            "_is_packed_sequence": lambda *_given: packing,
            "prepare_fa_kwargs_from_position_ids": _begins,
        },
        flash_attention: {"get_target_dtype": _computing_dtype},
    }
    before = {module: {name: getattr(module, name) for name in names} for module, names in told.items()}
    _set(told)
    try:
        yield
    finally:
        _set(before)


def _set(names: dict[Any, dict[str, Any]]) -> None:
    for module, values in names.items():
        for name, value in values.items():
            setattr(module, name, value)


def _kernels(_name: str | None) -> Any:
    """Returns the functions of the package, and what sorts out their arguments."""
    return (_rows, _varlen, None, modeling_flash_attention_utils._pad_input, None), (_no_arguments, _no_arguments)


def _no_arguments(**_given: Any) -> dict[str, Any]:
    return {}


def _computing_dtype(query: Tensor, module: Any) -> torch.dtype | None:
    """Returns what float32 inputs are cast to, which the kernels do not take."""
    if query.dtype != torch.float32:
        return None
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu")
    if hasattr(module.config, "_is_quantized"):
        quantized: torch.dtype = module.config.dtype
        return quantized
    return next(layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)).weight.dtype


def _unpadded(mask: Tensor) -> tuple[Tensor, Tensor, int]:
    """Returns where the tokens of padded rows stand, where each row begins, and the longest: all rows full."""
    rows, tokens = mask.shape
    places = torch.empty(rows * tokens, dtype=torch.int64, device=mask.device)
    return places, torch.empty(rows + 1, dtype=torch.int32, device=mask.device), tokens


def _begins(positions: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    """Returns where each packed text begins and the longest: how many texts there are costs a few bytes."""
    starts = torch.empty(2, dtype=torch.int32, device=positions.device)
    return (starts, starts), (positions.numel(), positions.numel())


def _rows(query: Tensor, key: Tensor, value: Tensor, *, kernel: Kernel = "flash", **_given: Any) -> Tensor:
    """Returns attention within rows; [rows, tokens, heads, width], as its arguments."""
    within = flash(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), kernel)
    return within.transpose(1, 2)


def _varlen(query: Tensor, key: Tensor, value: Tensor, *, cu_seqlens_q: Tensor, **_given: Any) -> Tensor:
    """Returns attention within texts that stand on end; [tokens, heads, width], as its arguments."""
    texts = cu_seqlens_q.shape[0] - 1
    query, key, value = (tensor.unflatten(0, (texts, -1)) for tensor in (query, key, value))
    return _rows(query, key, value, kernel="varlen").flatten(0, 1)
