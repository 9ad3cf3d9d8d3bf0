"""A device's real speed, from a matrix product per dtype and a copy; about three seconds in all."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

from autopeft.errors import OutOfMemoryError
from autopeft.profiling.usable import check_usable
from autopeft.values.names import DTYPES
from autopeft.values.profiles import Device, Throughput

SECONDS_EACH = 0.6
_SIDE = {"cpu": 512, "cuda": 8192}
_COPY_BYTES = {"cpu": 64 << 20, "cuda": 1 << 30}


def measure(device: Device) -> Throughput:
    """Returns the measured throughput of the CPU or of a CUDA device.

    Each product is repeated for about `SECONDS_EACH` seconds, at least once. A copy reads and writes every
    byte, so its bandwidth counts twice what it moves.

    Raises:
        DeviceError: torch cannot use the device.
        OutOfMemoryError: others leave too little of its memory.
    """
    import torch

    check_usable(device)
    try:
        return _timed(torch, device)
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"{device.name} has too little free memory to be timed.\nEnd what else runs on it, or leave --measure out."
        ) from error


def _timed(torch: Any, device: Device) -> Throughput:
    """Returns the rate of a product in each dtype, and the bandwidth of a copy."""
    where = "cpu" if device.kind == "cpu" else f"cuda:{device.index}"
    side = _SIDE[device.kind]
    with torch.inference_mode():
        tflops: dict[str, float] = {
            dtype: 2 * side**3 / _seconds(_product(torch, where, side, dtype), _wait(torch, where)) / 1e12
            for dtype in DTYPES
        }
        moved = 2 * _COPY_BYTES[device.kind]
        bandwidth = moved / _seconds(_copy(torch, where, _COPY_BYTES[device.kind]), _wait(torch, where))
    return Throughput(tflops=tflops, bandwidth_bytes_per_second=bandwidth, source="measured")


def _product(torch: Any, where: str, side: int, dtype: str) -> Callable[[], Any]:
    left = torch.randn(side, side, device=where).to(getattr(torch, dtype))
    right = torch.randn(side, side, device=where).to(getattr(torch, dtype))
    return lambda: torch.mm(left, right)


def _copy(torch: Any, where: str, size: int) -> Callable[[], Any]:
    source = torch.zeros(size, dtype=torch.uint8, device=where)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _wait(torch: Any, where: str) -> Callable[[], None]:
    return (lambda: None) if where == "cpu" else (lambda: torch.cuda.synchronize(where))


def _seconds(work: Callable[[], Any], wait: Callable[[], None]) -> float:
    """Returns the seconds of one call, the first left out because it also sets things up."""
    work()
    wait()
    started, rounds = perf_counter(), 0
    while rounds == 0 or perf_counter() - started < SECONDS_EACH:
        work()
        rounds += 1
        if rounds % 8 == 0:
            wait()  # a GPU takes orders faster than it works them off
    wait()
    return (perf_counter() - started) / rounds
