"""What the methods that peft takes over from LyCORIS share."""

from collections.abc import Sequence
from typing import Any

from autopeft.methods import _peft
from autopeft.methods._targets import target_modules, target_violations
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue


def transposed_violations(setup: Setup) -> tuple[str, ...]:
    """Returns why the targets cannot be adapted: peft's layers exist for ``nn.Linear`` alone."""
    if target_violations(setup):
        return ()
    for module in target_modules(setup):
        if module.kind == "conv1d":
            return (f"{module.name} stores its weight transposed (Conv1D), for which the method has no layer.",)
    return ()


def alpha(layers: Sequence[Any], ranks: Sequence[int]) -> ParameterValue:
    """Returns alpha as the scaling of the injected layers amounts to."""
    pairs = zip(layers, ranks, strict=True)
    return _peft.shared("alpha", [round(float(layer.scaling[_peft.ADAPTER] * rank), 6) for layer, rank in pairs])
