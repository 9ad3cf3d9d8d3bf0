"""What a quantization scheme declares."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from autopeft.values.names import Dtype


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """One way to store the base weights.

    Attributes:
        bits: bits of a stored weight code; 0 for no quantization.
        bytes_per_weight: average bytes a quantized linear weight takes, block constants included; None
            where it is the dtype's own size.
        config: compute dtype → transformers' quantization config, None for no quantization.
        source: where the sizes come from.
        shardable: its weights can be divided over several devices (FSDP).
    """

    name: str
    title: str
    bits: int
    bytes_per_weight: float | None
    config: Callable[[Dtype], Any]
    source: str
    shardable: bool = False
    kind: Literal["quantization"] = field(default="quantization", init=False)
