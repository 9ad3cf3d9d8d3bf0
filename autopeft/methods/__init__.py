"""The catalogue of methods: one file each, found by walking this package."""

from functools import cache

from autopeft.discovery import discover
from autopeft.errors import close_match, invalid
from autopeft.methods import _additive as additive
from autopeft.methods._composition import compose
from autopeft.methods._declaration import Capabilities, Family, Kind, Method, Paper, Seed
from autopeft.methods._imported import imported
from autopeft.methods._targets import target_modules

__all__ = [
    "Capabilities",
    "Family",
    "Kind",
    "Method",
    "Paper",
    "Seed",
    "additive",
    "all_methods",
    "baseline",
    "compose",
    "get_method",
    "is_own",
    "target_modules",
]


@cache
def all_methods() -> dict[str, Method]:
    """Returns every method of the catalogue by name, sorted."""
    import autopeft.methods as package

    return discover(package, "METHOD", Method)


def is_own(name: str) -> bool:
    """Whether a name is the import path of somebody's own method, and none of the catalogue's."""
    return "." in name


def get_method(name: str) -> Method:
    """Returns one method, of the catalogue or of anybody's.

    Args:
        name: of the catalogue, or the import path of a module that declares ``METHOD``, such as
            ``mypackage.my_method``; such a method goes by its path.

    Raises:
        InvalidValueError: no method has this name, the closest match is offered; or the path leads to none.
    """
    if is_own(name):
        return imported(name)
    known = all_methods()
    if name not in known:
        # Sixty names would hide the sentence; a file may name one that was here, or lies elsewhere.
        expected = f"one of the {len(known)} that this autopeft has, or the import path of your own, package.module"
        advice = close_match(name, known) or "`autopeft methods` lists them; your own must be importable."
        raise invalid("method", "a configuration", expected, name, advice)
    return known[name]


def baseline(name: str) -> tuple[str, Seed]:
    """Returns the method and the recipe of a named baseline, such as ``default``.

    Raises:
        LookupError: no method declares it: a defect of the catalogue.
    """
    for method in all_methods().values():
        if name in method.baseline:
            return method.name, method.baseline[name]
    raise LookupError(f"No method declares the baseline {name!r}.")
