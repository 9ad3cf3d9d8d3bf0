"""The device that training runs on: its memory, and the one error that a trial is expected to meet there."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from autopeft.errors import OutOfMemoryError
from autopeft.profiling.usable import claim
from autopeft.values.names import Dtype
from autopeft.values.profiles import HardwareProfile

_HIGH_WATER = Path("/proc/self/clear_refs")
"""What takes a 5 to start a process's peak of resident memory anew."""


def training_device(hardware: HardwareProfile) -> str:
    """Returns torch's name for the selected device, such as ``cuda:1``; ``cpu`` where this machine has no GPU."""
    import torch

    device = hardware.device
    claim(device)
    if device.kind in ("cuda", "rocm") and torch.cuda.is_available():
        return f"cuda:{device.index}"
    return "cpu"


_FULL = (
    "DefaultCPUAllocator: ", "CUDA error: out of memory", "HIP error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
    "HIPBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
)  # fmt: skip
"""What the texts of plain RuntimeErrors say where memory ran out: their only mark. The first is of the CPU's allocator,
the others of drivers and libraries that allocate beside torch's allocator on a GPU."""


@contextmanager
def memory_guard() -> Iterator[None]:
    """Turns out-of-memory errors, and nothing else, into `OutOfMemoryError`."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(str(error)) from error
    except RuntimeError as error:
        if not any(mark in str(error) for mark in _FULL):
            raise
        raise OutOfMemoryError(str(error)) from error


def autocast(device: str, dtype: Dtype) -> AbstractContextManager[Any]:
    """Returns the context that computes in the dtype; float32 needs none."""
    import torch

    kind = device.partition(":")[0]
    return torch.autocast(kind, dtype=getattr(torch, dtype), enabled=dtype != "float32")


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Computes with so many processor threads while the context lasts; None leaves them as they are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def reset_peak(device: str) -> None:
    """Starts a new measurement of peak memory."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return
    if _starts_anew():
        _HIGH_WATER.write_text("5")


@cache
def _starts_anew() -> bool:
    """Returns whether this process may start its high-water mark anew: on Linux, and there not in every container."""
    try:
        _HIGH_WATER.write_text("5")
    except OSError:
        return False
    return True


def peak_bytes(device: str) -> int | None:
    """Returns peak memory since `reset_peak`: reserved on a GPU, the process's resident set on a Linux CPU.

    None where it cannot be told, as where the system does not let a process measure anew.
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_reserved(device))
    if not _starts_anew():
        return None
    status = Path("/proc/self/status").read_text()
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return int(line.split()[1]) * 1024 if line else None
