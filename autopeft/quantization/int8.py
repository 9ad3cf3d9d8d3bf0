"""8-bit integers with one scale per output row, outlier columns multiplied in 16 bits."""

from typing import Any

from autopeft.quantization._bitsandbytes import eight_bit_config
from autopeft.quantization._declaration import Quantization
from autopeft.values.names import Dtype

_TYPICAL_WIDTH = 1024
"""A row of n weights takes n + 4 bytes, so a weight takes 1 + 4/n; over n from 384 to 8192 that is within 1 %."""


def _config(_dtype: Dtype) -> Any:
    return eight_bit_config()


QUANTIZATION = Quantization(
    name="int8",
    title="8-bit integers (LLM.int8())",
    bits=8,
    bytes_per_weight=1 + 4 / _TYPICAL_WIDTH,
    config=_config,
    source="Dettmers et al., LLM.int8(), arXiv 2208.07339; stored bytes measured with bitsandbytes 0.50",
)
