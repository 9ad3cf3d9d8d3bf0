"""The domain and the reading of the starts that alternate between codes and factors."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from optuna.distributions import IntDistribution

from autopeft.methods import _codes, _lora, _peft, _starts
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {**_lora.LEGAL, "iterations": IntDistribution(1, 20)}
_ITERATIONS = "autopeft_iterations"


def attach(model: Any, setup: Setup, start: Callable[[Any, Any, int], None]) -> Any:
    """Returns the model with LoRA attached, each layer started by (layer, original weight, alternations)."""
    iterations = int(setup.candidate.parameters["iterations"])
    attached = _codes.attach(model, setup, lambda layer, weight: start(layer, weight, iterations))
    for _, layer in _starts.layers(attached):
        setattr(layer, _ITERATIONS, iterations)
    return attached


def effective(attached: Any) -> dict[str, ParameterValue]:
    """Returns LoRA's parameters as the layers have them, and the alternations that each was allowed."""
    allowed = [getattr(layer, _ITERATIONS) for _, layer in _starts.layers(attached)]
    return {**_lora.effective(attached), "iterations": _peft.shared("iterations", allowed)}
