"""What of a process's surroundings decides: switches in its environment, and the versions it runs on."""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib.metadata import version

STACK = ("torch", "transformers", "peft", "bitsandbytes")
"""Distributions whose versions decide what a run allocates, how fast it is and what it comes to."""


ALLOW_PICKLE = "AUTOPEFT_ALLOW_PICKLE"
"""Lets pickled weights in, where it is 1."""

_trusting = 0
"""Contexts open in this process in which code that a model brings along may run."""


def pickles_allowed() -> bool:
    """Whether the user has asked for this run that weights may be read from pickles."""
    return os.environ.get(ALLOW_PICKLE) == "1"


def remote_code_trusted() -> bool:
    """Whether this process was told that code which a model brings along may run; no variable tells it."""
    return _trusting > 0


@contextmanager
def trust_remote_code() -> Iterator[None]:
    """Lets models and tokenizers run the code that they bring along, while the context lasts.

    That code can do whatever you can: read it first. Workers of a search started within have the same leave. It is
    written to no file that is read again and to no variable, so that each run has to be told.

    Example:
        >>> with autopeft.trust_remote_code():  # doctest: +SKIP
        ...     autopeft.profile("organisation/a-model-with-code")
    """
    global _trusting
    _trusting += 1
    try:
        yield
    finally:
        _trusting -= 1


def as_told(*, trusted: bool) -> AbstractContextManager[None]:
    """Returns the leave that the process which started this one had, or none, while the context lasts."""
    return trust_remote_code() if trusted else nullcontext()


def permissions() -> dict[str, str]:
    """Returns the variables that allow something, for processes that do not inherit this one's environment."""
    return {ALLOW_PICKLE: os.environ[ALLOW_PICKLE]} if ALLOW_PICKLE in os.environ else {}


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
