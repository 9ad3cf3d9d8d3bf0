"""The processes that a search starts on this machine, each for trials of its own."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from autopeft.errors import invalid
from autopeft.profiling.hardware import freest
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.spread import Spread
from autopeft.values.profiles import HardwareProfile


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
        InvalidValueError: GPUs are named that are not there, or there is not one for each process.
    """
    if spread.workers is None and not spread.gpus:
        return None
    there = hardware.device.kind in ("cuda", "rocm")
    if not there:
        if spread.gpus:
            raise invalid("--gpus", "a search", "left out on a machine without GPUs", ",".join(spread.gpus))
        size = spread.workers or 1
        return Crew(size=size, gpus=(), threads=max(1, hardware.cpu_count // size))
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
