"""The catalogue of optimizers: one file each, found by walking this package.

Left out: schedule-free AdamW (Defazio et al., arXiv 2405.15682). Its library is not among the dependencies, and its
steps need the model switched between training and evaluation weights around every reading of a loss, which neither
the training loop here nor a user's trainer does by itself.
"""

from functools import cache

from autopeft.discovery import discover
from autopeft.errors import named
from autopeft.optimizers._declaration import Optimizer

__all__ = ["Optimizer", "all_optimizers", "get_optimizer"]


@cache
def all_optimizers() -> dict[str, Optimizer]:
    """Returns every optimizer by name, sorted."""
    import autopeft.optimizers as package

    return discover(package, "OPTIMIZER", Optimizer)


def get_optimizer(name: str) -> Optimizer:
    """Returns one optimizer.

    Raises:
        InvalidValueError: no optimizer has this name.
    """
    return named(all_optimizers(), name, "optimizer", "a candidate")
