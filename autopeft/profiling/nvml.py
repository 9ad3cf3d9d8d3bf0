"""NVIDIA's devices as the driver reports them, through NVML; CUDA itself is not started."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from autopeft.environment import cuda_begun
from autopeft.profiling.catalogue import find_card
from autopeft.profiling.cpu import memory_bytes
from autopeft.values.profiles import Device, Throughput

_NOT_SUPPORTED = ("NVMLError_NotSupported", "NVMLError_FunctionNotFound", "NVMLError_NoPermission")
_ORDER, _BY_BUS = "CUDA_DEVICE_ORDER", "PCI_BUS_ID"


@dataclass(frozen=True, kw_only=True)
class NvmlReport:
    """The devices that CUDA may use here, in its order, and what a user should know about them."""

    devices: tuple[Device, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A device beside the names that ``CUDA_VISIBLE_DEVICES`` may call it by."""

    device: Device
    names: tuple[str, ...]


def nvml_devices() -> NvmlReport:
    """Returns the NVIDIA devices of this machine, none where there is no driver.

    A card that is split by MIG is reported as its slices and never as a whole. ``CUDA_VISIBLE_DEVICES`` is
    respected, its order included. Where there are several, this process and its children are told to number them as
    the driver does, unless ``CUDA_DEVICE_ORDER`` says otherwise already.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return NvmlReport(devices=())
    except pynvml.NVMLError as error:
        return NvmlReport(devices=(), notes=(f"The NVIDIA driver does not answer: {error}.",))
    try:
        return _visible(*_all_devices(pynvml))
    finally:
        pynvml.nvmlShutdown()


def _all_devices(nvml: Any) -> tuple[list[_Found], list[str]]:
    found: list[_Found] = []
    notes: list[str] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            slices = list(_slices(nvml, handle)) if _is_split(nvml, handle) else None
            if slices is None:
                found.append(_device(nvml, handle, handle, index))
            else:
                found.extend(_device(nvml, part, handle, index) for part in slices)
                notes.append(_split_note(index, len(slices)))
        except nvml.NVMLError as error:
            notes.append(f"GPU {index} is left out: the driver reports {error}.")
    return found, notes


def _split_note(index: int, slices: int) -> str:
    if slices:
        return f"GPU {index} is split by MIG into {slices} slices; a process can use one of them."
    return f"GPU {index} is in MIG mode without a slice, so nothing can run on it."


def _is_split(nvml: Any, handle: Any) -> bool:
    current = _supported(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle)[0])
    return bool(current == nvml.NVML_DEVICE_MIG_ENABLE)


def _slices(nvml: Any, handle: Any) -> Iterator[Any]:
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except (nvml.NVMLError_NotFound, nvml.NVMLError_InvalidArgument):
            continue  # slices may leave gaps in the numbering


def _device(nvml: Any, handle: Any, card: Any, index: int) -> _Found:
    """Returns a whole card, or a slice where ``handle`` is not ``card`` itself: that goes by the card's names too."""
    sliced = handle is not card
    name = nvml.nvmlDeviceGetName(card)
    total, free = _memory(nvml, handle)
    processes, used = _others(nvml, handle)
    capability = _supported(nvml, lambda: nvml.nvmlDeviceGetCudaComputeCapability(card))
    uuid = nvml.nvmlDeviceGetUUID(handle)
    device = Device(
        index=0, name=f"{name} (MIG slice)" if sliced else name, kind="cuda", total_memory_bytes=total,
        free_memory_bytes=free, compute_capability=".".join(map(str, capability)) if capability else None,
        throughput=None if sliced else _throughput(name), mig=sliced, other_processes=processes, other_used_bytes=used,
        uuid=uuid,
    )  # fmt: skip
    return _Found(device=device, names=(str(index), uuid, *((nvml.nvmlDeviceGetUUID(card),) if sliced else ())))


def _memory(nvml: Any, handle: Any) -> tuple[int, int]:
    """Returns total and free memory; the system's for a device that has none of its own, such as Jetson's."""
    info = _supported(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    return (int(info.total), int(info.free)) if info is not None else memory_bytes()


def _others(nvml: Any, handle: Any) -> tuple[int, int]:
    """Returns how many other processes hold memory on a device, and how much where the driver tells."""
    running = (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses)
    held: dict[int, int] = {}
    for process in (one for call in running for one in _supported(nvml, partial(call, handle)) or ()):
        if process.pid != os.getpid():
            held[process.pid] = max(held.get(process.pid, 0), process.usedGpuMemory or 0)
    return len(held), sum(held.values())


def _throughput(name: str) -> Throughput | None:
    card = find_card(name)
    if card is None:
        return None
    return Throughput(
        tflops=card.tflops, bandwidth_bytes_per_second=card.bandwidth_bytes_per_second, source=card.source.address
    )  # fmt: skip


def _supported(nvml: Any, call: Callable[[], Any]) -> Any:
    """Returns what a query says, None where this device or this driver does not answer it."""
    try:
        return call()
    except tuple(getattr(nvml, name) for name in _NOT_SUPPORTED):
        return None


def _visible(found: list[_Found], notes: list[str]) -> NvmlReport:
    """Returns the devices that ``CUDA_VISIBLE_DEVICES`` leaves, numbered as CUDA numbers them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    notes.extend(_numbering(found))
    if named is not None:
        kept = _named(found, named)
        if len(kept) < len(found):
            notes.append(f"CUDA_VISIBLE_DEVICES={named} leaves {len(kept)} of {len(found)} devices.")
        found = kept
    if len(found) > 1 and any(one.device.mig for one in found):
        return NvmlReport(devices=_one_at_a_time(found), notes=(*notes, *_late()))
    devices = tuple(replace(one.device, index=index) for index, one in enumerate(found))
    return NvmlReport(devices=devices, notes=tuple(notes))


def _one_at_a_time(found: list[_Found]) -> tuple[Device, ...]:
    """Returns devices of which CUDA gives a process one, as its first: it never gives a slice beside anything else."""
    return tuple(replace(one.device, index=0, exclusive=True) for one in found)


def _late() -> tuple[str, ...]:
    if not cuda_begun():
        return ()
    return (
        "CUDA has begun in this process and gives it one MIG slice or card, perhaps another than the one planned for. "
        "Set CUDA_VISIBLE_DEVICES to the UUID of one, as nvidia-smi -L tells it, before Python starts.",
    )


def _numbering(found: list[_Found]) -> list[str]:
    """Has CUDA number devices by their place on the bus, as NVML does, and returns a note where it will not.

    By itself CUDA puts the fastest first, so that the second card would be planned for and the first one trained on.
    """
    if len(found) < 2:
        return []
    if not cuda_begun():
        os.environ.setdefault(_ORDER, _BY_BUS)
    order = os.environ.get(_ORDER, "FASTEST_FIRST")
    if order == _BY_BUS or len({one.device.name for one in found}) == 1:
        return []
    return [
        f"{_ORDER} is {order}, so that CUDA numbers these GPUs otherwise than the driver, and another than the one "
        f"planned for may train. Set {_ORDER}={_BY_BUS} before Python starts."
    ]


def _named(found: list[_Found], named: str) -> list[_Found]:
    kept: list[_Found] = []
    for entry in (part.strip() for part in named.split(",")):
        matches = [one for one in found if _is_called(one, entry)]
        if not matches or any(one in kept for one in matches):
            break  # CUDA ignores everything from the first name on that it does not know
        # A split card's own name leaves all its slices, of which CUDA gives one.
        kept.extend(matches if matches[0].device.mig else matches[:1])
    return kept


def _is_called(one: _Found, entry: str) -> bool:
    if not entry or entry.isdecimal():
        return entry in one.names
    return any(name.startswith(entry) for name in one.names)
