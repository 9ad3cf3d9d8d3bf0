"""Python's cyclic garbage collector, kept out of work that makes many values and no cycles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Switches the collector off inside, and on again where it was on.

    A trace is some ten thousand small tuples: walking them again and again takes longer than making them. Under the
    recorder it would besides free at moments of its own what cycles hold.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
