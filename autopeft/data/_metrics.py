"""A metric of the user's own, named as ``package.module:function``."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from autopeft.errors import DataError

UserMetric = Callable[[Sequence[Any], Sequence[Any]], float]


def load_metric(name: str) -> UserMetric:
    """Returns the function (predicted, expected) → float, higher being better.

    Args:
        name: ``package.module:function``, importable from where the command runs.

    Raises:
        DataError: the name has another form, the module is not found, or it has no such function.
    """
    module_name, colon, function_name = name.partition(":")
    if not (module_name and colon and function_name):
        raise DataError(f"The metric {name!r} must have the form package.module:function.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # An import that fails inside the user's module is a defect there and keeps its traceback.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        advice = "Run from the folder it lies in, or put that folder on PYTHONPATH."
        raise DataError(f"The module {module_name!r} of the metric {name!r} is not found.\n{advice}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise DataError(f"The module {module_name!r} has no function {function_name!r} to use as a metric.")
    found: UserMetric = function
    return found
