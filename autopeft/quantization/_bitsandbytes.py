"""What the bitsandbytes schemes share: which modules stay as they are, and the config objects."""

from typing import Any, Literal

from autopeft.values.names import Dtype

KEPT_MODULES = (
    "lm_head", "embed_out", "score", "classifier", "pre_classifier", "classification_head", "head", ".*pooler",
)  # fmt: skip
"""Modules that are not quantized, as transformers matches them: a name's start, its end, or a pattern.

Task heads train, so they need real weights; transformers' own default misses a head with a bias, because it drops
only ``.weight`` from the last parameter's name. A pooler may be missing from the checkpoint, like a head.
"""

BLOCK = 64
"""Weights that share one scale in the 4-bit schemes (bitsandbytes' default)."""

NESTED_BLOCK = 256
"""Scales that share one scale of their own under double quantization."""

SOURCE = "Dettmers et al., QLoRA, arXiv 2305.14314, section 3; stored bytes measured with bitsandbytes 0.50"


def four_bit_bytes(*, double: bool) -> float:
    """Returns the average bytes of one 4-bit weight: half a byte and its share of the block's scale.

    The scale is 4 bytes per block; under double quantization 1 byte and its share of a 4-byte nested scale. The
    code book and the offset, at most about 1.1 KB a layer, are left out.
    """
    scale = 1 + 4 / NESTED_BLOCK if double else 4
    return 0.5 + scale / BLOCK


def four_bit_config(dtype: Dtype, code: Literal["nf4", "fp4"], *, double: bool) -> Any:
    """Returns transformers' config for a 4-bit base that computes in the given dtype."""
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=code,
        bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
        llm_int8_skip_modules=list(KEPT_MODULES),
    )


def eight_bit_config() -> Any:
    """Returns transformers' config for an int8 base; it computes in float16 whatever the dtype around it."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=list(KEPT_MODULES))


def stop_repacking(model: Any) -> None:
    """Keeps 4-bit layers from rewriting their weights when they are evaluated on a CPU; other models are left alone.

    On CPUs with AVX-512 BF16, bitsandbytes 0.50 packs a layer anew at its first evaluation: it rounds the block
    scales to bfloat16 for good, so the base is no longer the one that was loaded, and it fails where a layer's
    outputs are no multiple of 32 or its inputs none of 64.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
