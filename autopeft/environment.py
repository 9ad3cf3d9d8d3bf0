"""What of a process's surroundings decides: switches in its environment, and the versions it runs on."""

import os
from functools import cache
from importlib.metadata import version

STACK = ("torch", "transformers", "peft", "bitsandbytes")
"""Distributions whose versions decide what a run allocates, how fast it is and what it comes to."""


def switched_on(variable: str) -> bool:
    """Whether an environment variable leaves something on: unless it says ``off``, ``0``, ``no`` or ``false``."""
    return os.environ.get(variable, "").lower() not in ("off", "0", "no", "false")


@cache
def stack() -> dict[str, str]:
    """Returns the installed versions of `STACK` by distribution."""
    return {name: version(name) for name in STACK}
