"""Reads a limit on trained parameters as users write it."""

import re

from autopeft.errors import invalid
from autopeft.profiling.sizes import parse_count

_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def parse_budget(text: str, total_parameters: int) -> int:
    """Returns a limit such as ``5M``, ``500k``, ``1200000`` or ``1%`` as a number of parameters.

    Args:
        text: the limit; a percentage is one of all the model's parameters.
        total_parameters: of the model.

    Raises:
        InvalidValueError: it is not such a limit, or it allows nothing at all.
    """
    share = _SHARE.fullmatch(text.strip())
    percent = float(share[1]) if share else 0.0
    limit = int(percent / 100 * total_parameters) if share else parse_count(text)
    if not limit or percent > 100:
        expected = "a count such as 5M or a share such as 1%, above zero"
        raise invalid("--max-trainable", "the constraints", expected, text)
    return limit
