"""Parsing of option values that several commands share."""

import re
from collections.abc import Sequence

from autopeft.errors import invalid

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_seconds(text: str) -> float:
    """Returns a duration such as ``90``, ``45s``, ``10m`` or ``1.5h`` in seconds.

    Raises:
        InvalidValueError: it is not a positive duration.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if match is None or float(match[1]) <= 0:
        raise invalid("--time", "autopeft search", "a positive duration such as 45s, 10m or 1.5h", text)
    return float(match[1]) * _UNITS[match[2]]


def parse_columns(pairs: Sequence[str] | None) -> dict[str, str] | None:
    """Returns ``ROLE=NAME`` pairs as a mapping, None where there are none.

    Raises:
        InvalidValueError: a pair has no equals sign.
    """
    if not pairs:
        return None
    for pair in pairs:
        if not all(pair.partition("=")[::2]):
            raise invalid("--column", "the command", "ROLE=NAME, such as text=review", pair)
    return {role: name for role, _, name in (pair.partition("=") for pair in pairs)}


def parse_settings(pairs: Sequence[str] | None) -> dict[str, str]:
    """Returns ``NAME=VALUE`` pairs as a mapping; a value may hold an equals sign.

    Raises:
        InvalidValueError: a pair has no equals sign, or a name is given twice.
    """
    found: dict[str, str] = {}
    for pair in pairs or ():
        name, _, value = (part.strip() for part in pair.partition("="))
        if not name or not value:
            raise invalid("--set", "the command", "NAME=VALUE, such as rank=16", pair)
        if name in found:
            raise invalid("--set", "the command", "given once for each name", name)
        found[name] = value
    return found


def parse_names(text: str | None) -> tuple[str, ...]:
    """Returns names separated by commas."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
