"""Finds plug-ins by walking a package: a file that exists is a plug-in, there is no registry to forget."""

import importlib
import pkgutil
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def discover(package: ModuleType, attribute: str, kind: type[T]) -> dict[str, T]:
    """Returns the declarations in a package's public modules by their name, sorted.

    Args:
        package: an imported package whose modules without a leading underscore each declare one plug-in.
        attribute: the module attribute that holds the declaration, such as ``METHOD``.
        kind: the declaration's type; it must have a ``name``.

    Raises:
        TypeError: a module lacks the declaration or its type is another one: a defect of that file.
        ValueError: two files declare the same name.
    """
    found: dict[str, T] = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        declaration = getattr(module, attribute, None)
        if not isinstance(declaration, kind):
            raise TypeError(f"{module.__name__} must declare {attribute} as a {kind.__name__}.")
        name: str = declaration.name  # type: ignore[attr-defined]
        if name in found:
            raise ValueError(f"{module.__name__} declares {name!r}, which another file declares too.")
        found[name] = declaration
    return dict(sorted(found.items()))
