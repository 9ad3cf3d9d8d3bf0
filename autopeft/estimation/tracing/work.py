"""Floating-point operations of torch's matrix products; the rest moves bytes and is counted by those alone.

Kernels that stand-ins replace report their own work to whoever listens.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any

_CONTRACTS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1, "_grouped_mm": 0, "addmv": 1, "mv": 0, "dot": 0}
"""Products by name, with the position of their left factor, whose last side is summed over."""


def operation_flops(func: Any, args: Sequence[Any], outputs: Sequence[Any]) -> float:
    """Returns two per multiply-add of a matrix product or a convolution, 0 for anything else."""
    name: str = func._schema.name.removeprefix("aten::")
    place = _CONTRACTS.get(name)
    if place is not None:
        return _twice(outputs[0].shape, args[place].shape[-1:])
    if name == "convolution":
        return _twice(outputs[0].shape, args[1].shape[1:])
    return 0.0


def _twice(*shapes: Sequence[int]) -> float:
    return 2.0 * prod(prod(shape) for shape in shapes)


Listener = Callable[[str, float, Iterable[int], str], None]
"""Takes a kernel's name, its floating-point operations, the bytes of each tensor it moves, and its dtype."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Sends what kernels report inside to a listener."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def report(name: str, flops: float, tensors: Iterable[Any]) -> None:
    """Reports a kernel that a stand-in replaces; it computes in the first tensor's dtype."""
    listener = _listener.get()
    if listener is None:
        return
    moved = list(tensors)
    sizes = [tensor.numel() * tensor.element_size() for tensor in moved]
    listener(name, flops, sizes, str(moved[0].dtype).removeprefix("torch."))
