"""4-bit normal float whose scales are quantized too, which saves 0.37 bits a weight."""

from functools import partial

from autopeft.quantization._bitsandbytes import SOURCE, four_bit_bytes, four_bit_config
from autopeft.quantization._declaration import Quantization

QUANTIZATION = Quantization(
    name="nf4-double",
    title="4-bit normal float, double quantization",
    bits=4,
    bytes_per_weight=four_bit_bytes(double=True),
    config=partial(four_bit_config, code="nf4", double=True),
    source=SOURCE,
)
