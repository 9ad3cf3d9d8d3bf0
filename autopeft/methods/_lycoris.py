"""What the methods that peft takes over from LyCORIS share."""

from collections.abc import Sequence
from typing import Any

from autopeft.methods import _peft
from autopeft.values.names import ParameterValue


def alpha(layers: Sequence[Any], ranks: Sequence[int]) -> ParameterValue:
    """Returns alpha as the scaling of the injected layers amounts to."""
    pairs = zip(layers, ranks, strict=True)
    return _peft.shared("alpha", [round(float(layer.scaling[_peft.ADAPTER] * rank), 6) for layer, rank in pairs])
