"""4-bit floating point: sign, two exponent bits and one mantissa bit, one scale per 64 weights."""

from functools import partial

from autopeft.quantization._bitsandbytes import SOURCE, four_bit_bytes, four_bit_config
from autopeft.quantization._declaration import Quantization

QUANTIZATION = Quantization(
    name="fp4",
    title="4-bit float",
    bits=4,
    bytes_per_weight=four_bit_bytes(double=False),
    config=partial(four_bit_config, code="fp4", double=False),
    source=SOURCE,
)
