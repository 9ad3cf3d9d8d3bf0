"""The processes that a search starts on this machine, each for trials of its own."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

from autopeft.errors import invalid
from autopeft.profiling.hardware import freest
from autopeft.tuning.limits import Limits
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.spread import Spread
from autopeft.values.profiles import HardwareProfile

MOST_UNASKED = 4
"""Processes that a search starts by itself: each holds the base model, and begins trials before others have ended."""

SHORTEST_SPREAD = 60.0
"""Seconds below which a search starts none by itself: they load the libraries for a quarter of a minute each."""


LIBRARY_BYTES = 2**30
"""Memory that is to be free for each process which loads its libraries before the search is planned."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """The processes that a search starts on this machine.

    Attributes:
        size: how many.
        gpus: the device of each, by a name that CUDA gives it by; empty on a machine without GPUs.
        threads: processor threads of each.
    """

    size: int
    gpus: tuple[str, ...]
    threads: int

    @property
    def crowded(self) -> bool:
        """Whether processes share a device, so that none of them is as fast as the device is."""
        return self.size > 1 and len(set(self.gpus)) < self.size

    def environment(self, slot: int) -> Mapping[str, str]:
        """Returns the environment of the process in a slot."""
        own = {"OMP_NUM_THREADS": str(self.threads)}
        if self.gpus:
            own["CUDA_VISIBLE_DEVICES"] = self.gpus[slot]
        return {**os.environ, **own}

    def share(self, prepared: Prepared) -> Prepared:
        """Returns a search as one of the processes sees it: with its own GPU, or its share of this machine's memory.

        That GPU is whichever its environment leaves it, and is planned for as the one with the least free memory.
        """
        if not self.gpus:
            return replace(prepared, memory_bytes=prepared.memory_bytes // self.size)
        device = replace(prepared.hardware.device, index=0, uuid=None, exclusive=False)
        return replace(prepared, hardware=replace(prepared.hardware, devices=(device,), selected=0))


def crew_of(spread: Spread, hardware: HardwareProfile) -> Crew | None:
    """Returns the processes to start, on the GPUs with the most free memory; None where this one does the work.

    Raises:
        InvalidValueError: GPUs are named that are not there, or there is not one for each process, or this is Windows.
    """
    if spread.workers is None and not spread.gpus:
        return None
    if sys.platform == "win32":
        key, got = ("--gpus", ",".join(spread.gpus)) if spread.gpus else ("--workers", spread.workers)
        raise invalid(key, "a search on Windows", "left out: it trains one trial at a time", got)
    there = hardware.device.kind in ("cuda", "rocm")
    if not there:
        if spread.gpus:
            raise invalid("--gpus", "a search", "left out on a machine without GPUs", ",".join(spread.gpus))
        return _on_processors(spread.workers or 1, hardware)
    gpus = tuple(device.uuid or str(device.index) for device in freest(hardware.devices))
    if spread.workers is None and len(spread.gpus) > len(gpus):
        expected = f"names of this machine's GPUs, as {len(gpus)} of these are"
        raise invalid("--gpus", "a search", expected, ",".join(spread.gpus))
    size = spread.processes
    if size > len(gpus):
        raise invalid(
            "--workers", "a search", f"at most {len(gpus)}, one process for each GPU", size, "Name others with --gpus."
        )
    return Crew(size=size, gpus=gpus[:size], threads=max(1, hardware.cpu_count // size))


def crew_unasked(prepared: Prepared, stops: Limits) -> Crew | None:
    """Returns the processes that a search on processors alone is best spread over; None where this one does the work.

    Cores wait for each other at every operation of a small model: two processes of a thread train on 1.7 times the
    tokens of one process with two (benchmarks/LOG.md, 2026-11-22). What is counted in trials or tokens stays with one
    process, so that it comes to the same each time. All starts have to fit into each process's share of the memory.
    """
    return next((crew for crew in _unasked(prepared.hardware, stops) if _fit(crew.share(prepared))), None)


def crew_expected(spread: Spread, hardware: HardwareProfile, stops: Limits) -> Crew | None:
    """Returns the processes of a search on processors, as far as that can be told before model and data are read.

    None where there will be none, or where what they load might itself be too much for the memory.

    Raises:
        InvalidValueError: GPUs are named that are not there.
    """
    if hardware.device.kind != "cpu":
        return None
    crew = crew_of(spread, hardware) or next(iter(_unasked(hardware, stops)), None)
    return crew if crew and crew.size * LIBRARY_BYTES <= hardware.device.free_memory_bytes else None


def _unasked(hardware: HardwareProfile, stops: Limits) -> list[Crew]:
    """Returns what a search may start by itself: first who leaves the fewest cores idle, of those the largest crew."""
    timed = (stops.seconds or 0.0) >= SHORTEST_SPREAD and stops.trials is None and stops.tokens is None
    if not timed or os.name != "posix" or hardware.device.kind != "cpu":
        return []
    crews = [_on_processors(size, hardware) for size in range(2, min(MOST_UNASKED, hardware.cpu_count) + 1)]
    return sorted(crews, key=lambda crew: (crew.size * crew.threads, crew.size), reverse=True)


def _on_processors(size: int, hardware: HardwareProfile) -> Crew:
    return Crew(size=size, gpus=(), threads=max(1, hardware.cpu_count // size))


def _fit(prepared: Prepared) -> bool:
    return not any(prepared.obstacles(candidate) for candidate in prepared.starts)
