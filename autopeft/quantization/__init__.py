"""The catalogue of quantization schemes: one file each, found by walking this package."""

from functools import cache

from autopeft.discovery import discover
from autopeft.errors import unknown
from autopeft.quantization._bitsandbytes import stop_repacking
from autopeft.quantization._declaration import Quantization

__all__ = ["Quantization", "all_quantizations", "get_quantization", "stop_repacking"]


@cache
def all_quantizations() -> dict[str, Quantization]:
    """Returns every scheme by name, sorted."""
    import autopeft.quantization as package

    return discover(package, "QUANTIZATION", Quantization)


def get_quantization(name: str) -> Quantization:
    """Returns one scheme.

    Raises:
        InvalidValueError: no scheme has this name.
    """
    schemes = all_quantizations()
    if name not in schemes:
        raise unknown("quantization", "a candidate", name, schemes)
    return schemes[name]
