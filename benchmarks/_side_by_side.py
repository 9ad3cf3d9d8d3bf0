"""Work that runs side by side, in processes that start with nothing of this one's."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from typing import Any, TypeVar

T = TypeVar("T")


def side_by_side(work: Callable[..., T], units: Sequence[tuple[Any, ...]], jobs: int) -> Iterator[T]:
    """Yields what a function of a module makes of each unit's arguments, as soon as it is made.

    Where the first fails, or whoever takes what is made goes no further, nothing more is begun.
    """
    if jobs == 1:
        yield from (work(*unit) for unit in units)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_end_with_parent) as pool:
        try:
            for done in as_completed([pool.submit(work, *unit) for unit in units]):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def threads_each(jobs: int) -> int:
    """Returns the processor threads of each of so many processes."""
    import torch

    return max(1, torch.get_num_threads() // jobs)


def _end_with_parent() -> None:
    """Has this process end as soon as the one that started it does: what it would go on with is in others' way."""

    def wait() -> None:
        if (parent := parent_process()) is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
