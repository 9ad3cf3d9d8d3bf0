"""Sizes of memory as people write and read them."""

import re
from decimal import Decimal

from autopeft.errors import invalid

_UNITS = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", re.ASCII)


def parse_bytes(text: str, key: str = "--memory") -> int:
    """Returns the bytes of a size such as ``24GiB``, ``10 GB``, ``1.5GiB`` or ``1073741824``.

    Example:
        >>> parse_bytes("24GiB")
        25769803776

    Raises:
        InvalidValueError: it is no size, or none above zero.
    """
    found = _SIZE.fullmatch(text)
    unit = _UNITS.get(found[2].upper()) if found else None
    size = int(Decimal(found[1]) * unit) if found and unit else 0
    if size < 1:
        raise invalid(key, "the command", "a size above zero such as 24GiB, 24GB, 512MiB or bytes", text)
    return size


_COUNTS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
_COUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmb]?)\s*", re.IGNORECASE | re.ASCII)


def parse_count(text: str) -> int | None:
    """Returns a count such as ``500k``, ``2M`` or ``1200000``; None where it is none or not above zero."""
    found = _COUNT.fullmatch(text)
    count = int(Decimal(found[1]) * _COUNTS[found[2].lower()]) if found else 0
    return count if count >= 1 else None


def format_bytes(size: int) -> str:
    """Returns a size for people, in binary units: ``24.0 GiB``, ``512.0 MiB``, ``37 B``."""
    for unit, bytes_each in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= bytes_each:
            return f"{size / bytes_each:.1f} {unit}"
    return f"{size} B"
