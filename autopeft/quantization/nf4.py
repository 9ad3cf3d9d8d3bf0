"""4-bit normal float: codes at the quantiles of a normal distribution, one scale per 64 weights."""

from functools import partial

from autopeft.quantization._bitsandbytes import SOURCE, four_bit_bytes, four_bit_config
from autopeft.quantization._declaration import Quantization

QUANTIZATION = Quantization(
    name="nf4",
    title="4-bit normal float",
    bits=4,
    bytes_per_weight=four_bit_bytes(double=False),
    config=partial(four_bit_config, code="nf4", double=False),
    source=SOURCE,
)
