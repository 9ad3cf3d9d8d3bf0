"""Reads a limit on trained parameters as users write it."""

import re

from autopeft.errors import invalid

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
_COUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kmb]?)", re.IGNORECASE)
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def parse_budget(text: str, total_parameters: int) -> int:
    """Returns a limit such as ``5M``, ``500k``, ``1200000`` or ``1%`` as a number of parameters.

    Args:
        text: the limit; a percentage is one of all the model's parameters.
        total_parameters: of the model.

    Raises:
        InvalidValueError: it is not such a limit, or it allows nothing at all.
    """
    wrong = invalid("--max-trainable", "the constraints", "a count such as 5M or a share such as 1%, above zero", text)
    share, count = _SHARE.fullmatch(text.strip()), _COUNT.fullmatch(text.strip())
    if share:
        limit = int(float(share[1]) / 100 * total_parameters)
    elif count:
        limit = int(float(count[1]) * _UNITS[count[2].lower()])
    else:
        raise wrong
    if limit < 1 or (share and float(share[1]) > 100):
        raise wrong
    return limit
