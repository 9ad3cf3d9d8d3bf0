"""What the methods share that train the model's own parameters: nothing is added, so nothing is taken out."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from autopeft.errors import ModelError
from autopeft.methods import _native
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

Choose = Callable[[Any, Setup], Iterable[Any]]
"""(model, setup) → the parameters that train."""


def apply(model: Any, setup: Setup, choose: Choose) -> Any:
    """Returns the model with the chosen parameters and the head's copy trainable."""
    return _native.attach(model, setup, partial(_add, setup=setup, choose=choose))


def _add(model: Any, setup: Setup, choose: Choose) -> tuple[Iterable[Any], Callable[[], None]]:
    return choose(model, setup), _nothing


def _nothing() -> None:
    """Takes nothing out: the method added no module."""


def load(model: Any, setup: Setup, folder: Path, apply: Callable[[Any, Setup], Any]) -> Any:
    """Returns the model with the saved values in place of its own."""
    return _native.load_into(apply(model, setup), folder)


def effective(model: Any) -> dict[str, ParameterValue]:
    """Returns no parameters: the method has none.

    Raises:
        ModelError: nothing trains, so the method did not take effect.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ModelError("No parameter of the model trains: the method did not take effect.")
    return {}
