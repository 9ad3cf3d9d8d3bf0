"""Traces several setups in two processes at once: the second works from the end of the list towards the first."""

import os
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from autopeft.environment import cuda_begun
from autopeft.estimation.estimate import estimate, is_kept
from autopeft.profiling.cpu import cpu_count
from autopeft.values.candidates import Setup
from autopeft.values.profiles import HardwareProfile

_LONGEST = 120
"""Seconds after which the second process ends whatever it does: nobody waits for it."""


@contextmanager
def ahead(setups: Sequence[Setup], *, tokens_per_row: int, hardware: HardwareProfile) -> Iterator[None]:
    """Lets a second process trace what the caller estimates one after the other, until the context ends.

    What it has traced is found where estimates are kept, so that the two meet about half way; the estimates are the
    same without it. Only on Linux, with a second core, before CUDA is begun, and where two or more are yet to trace.

    Args:
        setups: in the order in which the caller will estimate them.
        tokens_per_row: as `estimate` takes it.
        hardware: likewise.
    """
    missing = [s for s in setups if not is_kept(s, tokens_per_row=tokens_per_row, hardware=hardware)]
    if len(missing) < 2 or not _may_fork():
        yield
        return
    import autopeft.estimation.tracing.steps  # noqa: F401 - once for both, rather than by each

    reading, writing = os.pipe()
    first = os.fork()
    if first == 0:
        _second(missing[::-1], tokens_per_row, hardware, reading)
    os.close(reading)
    os.waitpid(first, 0)
    try:
        yield
    finally:
        os.close(writing)


def _may_fork() -> bool:
    return sys.platform == "linux" and cpu_count() > 1 and not cuda_begun()


def _second(setups: Sequence[Setup], tokens_per_row: int, hardware: HardwareProfile, reading: int) -> NoReturn:
    """Traces setups until the caller has closed its end of the pipe; what fails here will fail there, and be said.

    Whatever happens this process ends here: it must not go on as the caller does.
    """
    try:
        if os.fork() == 0:
            _leave_alone(reading)
            _trace(setups, tokens_per_row, hardware, reading)
    finally:
        os._exit(0)


def _leave_alone(reading: int) -> None:
    """Lets go of all files of the caller's but the pipe, so that nothing waits for this process, nobody's child."""
    signal.alarm(_LONGEST)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    os.closerange(3, reading)
    os.closerange(reading + 1, os.sysconf("SC_OPEN_MAX"))


def _trace(setups: Sequence[Setup], tokens_per_row: int, hardware: HardwareProfile, reading: int) -> None:
    import torch

    torch.set_num_threads(1)  # the threads of the pool stayed behind in the other process
    for setup in setups:
        if select.select([reading], [], [], 0)[0]:
            break
        estimate(setup, tokens_per_row=tokens_per_row, hardware=hardware)
