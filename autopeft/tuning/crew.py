"""The processes that a search starts on this machine, each for trials of its own."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from autopeft.errors import invalid
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.spread import Spread
from autopeft.values.profiles import HardwareProfile


@dataclass(frozen=True, kw_only=True)
class Crew:
    """The processes that a search starts on this machine.

    Attributes:
        size: how many.
        gpus: the device of each; empty on a machine without GPUs.
        threads: processor threads of each.
    """

    size: int
    gpus: tuple[str, ...]
    threads: int

    def environment(self, slot: int) -> Mapping[str, str]:
        """Returns the environment of the process in a slot."""
        own = {"OMP_NUM_THREADS": str(self.threads)}
        if self.gpus:
            own["CUDA_VISIBLE_DEVICES"] = self.gpus[slot]
        return {**os.environ, **own}

    def share(self, prepared: Prepared) -> Prepared:
        """Returns a search as one of the processes sees it: with its own GPU, or its share of this machine's memory."""
        if not self.gpus:
            return replace(prepared, memory_bytes=prepared.memory_bytes // self.size)
        device = replace(prepared.hardware.device, index=0)
        return replace(prepared, hardware=replace(prepared.hardware, devices=(device,), selected=0))


def crew_of(spread: Spread, hardware: HardwareProfile) -> Crew | None:
    """Returns the processes to start, None where this one does the work.

    Raises:
        InvalidValueError: GPUs are named where there are none, or there is not one for each process.
    """
    if spread.workers is None and not spread.gpus:
        return None
    there = hardware.device.kind in ("cuda", "rocm")
    if not there:
        if spread.gpus:
            raise invalid("--gpus", "a search", "left out on a machine without GPUs", ",".join(spread.gpus))
        size = spread.workers or 1
        return Crew(size=size, gpus=(), threads=max(1, hardware.cpu_count // size))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = spread.gpus or tuple(visible.split(",") if visible else (str(d.index) for d in hardware.devices))
    size = len(spread.gpus) if spread.workers is None else spread.workers
    if size > len(gpus):
        raise invalid(
            "--workers", "a search", f"at most {len(gpus)}, one process for each GPU", size, "Name others with --gpus."
        )
    return Crew(size=size, gpus=gpus[:size], threads=max(1, hardware.cpu_count // size))
