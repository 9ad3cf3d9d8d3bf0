"""The domain and the reading of the starts that alternate between codes and factors."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import IntDistribution

from autopeft.methods import _lora, _peft, _starts
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {**_lora.LEGAL, "iterations": IntDistribution(1, 20)}
_ITERATIONS = "autopeft_iterations"


def mark(layer: Any, iterations: int) -> None:
    """Notes on a LoRA layer how many alternations it was allowed."""
    setattr(layer, _ITERATIONS, iterations)


def effective(attached: Any) -> dict[str, ParameterValue]:
    """Returns LoRA's parameters as the layers have them, and the alternations that each was allowed."""
    allowed = [getattr(layer, _ITERATIONS) for _, layer in _starts.layers(attached)]
    return {**_lora.effective(attached), "iterations": _peft.shared("iterations", allowed)}
