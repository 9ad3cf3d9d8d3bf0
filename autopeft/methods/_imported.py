"""Methods from other people's packages, named by the import path of their module."""

import importlib
from dataclasses import replace
from functools import cache

from autopeft.errors import invalid
from autopeft.methods._declaration import Method

_ADVICE = "Run from the folder it lies in, or put that folder on PYTHONPATH."


@cache
def imported(path: str) -> Method:
    """Returns the method that a module declares as ``METHOD``, under its import path as its name.

    The path stands wherever a name does, in the command line, in a search's folder and in a tuned config, so
    that whoever reads one finds the method again.

    Raises:
        InvalidValueError: there is no such module, or it declares no method.
    """
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        # An import that fails inside the module is a defect there and keeps its traceback.
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise
        raise invalid("method", "a candidate", "an importable module or a catalogue name", path, _ADVICE) from error
    method = getattr(module, "METHOD", None)
    if not isinstance(method, Method):
        raise invalid("method", "a candidate", "a module that declares METHOD, an autopeft.methods.Method", path)
    return replace(method, name=path)
