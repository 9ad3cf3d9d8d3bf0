"""What of a process's surroundings decides: switches in its environment, and the versions it runs on."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version

STACK = ("torch", "transformers", "peft", "bitsandbytes")
"""Distributions whose versions decide what a run allocates, how fast it is and what it comes to."""


ALLOW_PICKLE = "AUTOPEFT_ALLOW_PICKLE"
"""Lets pickled weights in, where it is 1."""

TRUST_REMOTE_CODE = "AUTOPEFT_TRUST_REMOTE_CODE"
"""Lets code that a model brings along run, where it is 1."""


def pickles_allowed() -> bool:
    """Whether the user has asked for this run that weights may be read from pickles."""
    return os.environ.get(ALLOW_PICKLE) == "1"


def remote_code_trusted() -> bool:
    """Whether the user has asked for this run that code which a model brings along may run."""
    return os.environ.get(TRUST_REMOTE_CODE) == "1"


@contextmanager
def trust_remote_code() -> Iterator[None]:
    """Lets models and tokenizers run the code that they bring along, while the context lasts.

    That code can do whatever you can: read it first. Workers of a search started within have the same leave. It is
    never written to a file that is read again, so that each run has to be told.

    Example:
        >>> with autopeft.trust_remote_code():  # doctest: +SKIP
        ...     autopeft.profile("organisation/a-model-with-code")
    """
    before = os.environ.get(TRUST_REMOTE_CODE)
    os.environ[TRUST_REMOTE_CODE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[TRUST_REMOTE_CODE]
        else:
            os.environ[TRUST_REMOTE_CODE] = before


def permissions() -> dict[str, str]:
    """Returns the variables of what this run was allowed, for processes that do not inherit its environment."""
    return {name: os.environ[name] for name in (ALLOW_PICKLE, TRUST_REMOTE_CODE) if name in os.environ}


def switched_on(variable: str) -> bool:
    """Whether an environment variable leaves something on: unless it says ``off``, ``0``, ``no`` or ``false``."""
    return os.environ.get(variable, "").lower() not in ("off", "0", "no", "false")


def cuda_begun() -> bool:
    """Whether torch has started CUDA in this process: it reads its environment once, and is lost in a fork."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


@cache
def stack() -> dict[str, str]:
    """Returns the installed versions of `STACK` by distribution."""
    return {name: version(name) for name in STACK}
