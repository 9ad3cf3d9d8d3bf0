"""No quantization: the base keeps its dtype."""

from autopeft.quantization._declaration import Quantization
from autopeft.values.names import Dtype


def _config(_dtype: Dtype) -> None:
    return None


QUANTIZATION = Quantization(
    name="none",
    title="no quantization",
    bits=0,
    bytes_per_weight=None,
    config=_config,
    shardable=True,
    source="a weight takes its dtype's own bytes",
)
