"""The device that candidates are planned for: found on this machine, or named by the user."""

from dataclasses import replace
from typing import Literal

from autopeft.errors import invalid
from autopeft.profiling import cpu
from autopeft.profiling.catalogue import card_device, load_card
from autopeft.profiling.nvml import nvml_devices
from autopeft.profiling.precision import choose_dtype
from autopeft.profiling.sizes import format_bytes
from autopeft.profiling.timed import keep_throughput, kept_throughput
from autopeft.values.profiles import Device, HardwareProfile

Source = Literal["nvml", "cpu", "catalogue", "given"]
_BUSY = 0.5  # share of a card's memory that others may hold before a user is told


def probe_hardware(
    *, gpu: str | None = None, memory_bytes: int | None = None, measure: bool = False
) -> HardwareProfile:
    """Returns the hardware to plan for.

    Without ``gpu`` it is this machine's: the NVIDIA device with the most free memory, else the CPU; with the speed
    that it was last timed at, where it was.

    Args:
        gpu: a card of the catalogue to plan for instead.
        memory_bytes: plan as if the device had this much memory, all of it free.
        measure: time a matrix product per dtype and a copy on the device, which must be this machine's.

    Raises:
        InvalidValueError: no card has this name, or a card that is not here is to be measured.
    """
    if gpu is not None:
        if measure:
            raise invalid("--measure", "the command", "left out with --gpu", gpu, "Only this machine can be timed.")
        card = load_card(gpu)
        return _profile("catalogue", (card_device(card),), memory_bytes, (card.note,) if card.note else ())
    report = nvml_devices()
    devices = report.devices or (cpu.cpu_device(),)
    devices = _measured(devices) if measure else tuple(map(_with_kept_speed, devices))
    source: Source = "nvml" if report.devices else "cpu"
    return _profile(source if memory_bytes is None else "given", devices, memory_bytes, report.notes)


def _profile(source: Source, devices: tuple[Device, ...], limit: int | None, notes: tuple[str, ...]) -> HardwareProfile:
    selected = most_free(devices)
    if limit is not None:
        capped = replace(devices[selected], total_memory_bytes=limit, free_memory_bytes=limit)
        devices = (*devices[:selected], capped, *devices[selected + 1 :])
    dtype, reason = choose_dtype(devices[selected])
    return HardwareProfile(
        source=source, devices=devices, selected=selected, cpu_count=cpu.cpu_count(), ram_bytes=cpu.memory_bytes()[0],
        dtype=dtype, dtype_reason=reason, notes=(*notes, *_busy_notes(devices[selected])),
    )  # fmt: skip


def most_free(devices: tuple[Device, ...]) -> int:
    """Returns the position of the device with the most free memory, the first among equals."""
    return max(range(len(devices)), key=lambda index: devices[index].free_memory_bytes)


def freest(devices: tuple[Device, ...]) -> tuple[Device, ...]:
    """Returns the devices, those with the most free memory first."""
    return tuple(sorted(devices, key=lambda device: -device.free_memory_bytes))


def among_freest(hardware: HardwareProfile, count: int) -> HardwareProfile:
    """Returns the hardware of so many cards that train at once: those with the most free memory.

    They are planned for by the one with the least of it, since what is tried may run on any.
    """
    if count < 2 or hardware.device.kind == "cpu":
        return hardware
    devices = freest(hardware.devices)[:count]
    least = devices[-1]
    dtype, reason = choose_dtype(least)
    notes = dict.fromkeys((*hardware.notes, *_busy_notes(least)))
    return replace(
        hardware, devices=devices, selected=len(devices) - 1, dtype=dtype, dtype_reason=reason, notes=tuple(notes)
    )


def _measured(devices: tuple[Device, ...]) -> tuple[Device, ...]:
    from autopeft.profiling.measure import measure

    selected = most_free(devices)
    throughput = measure(devices[selected])
    keep_throughput(devices[selected], throughput)
    timed = replace(devices[selected], throughput=throughput)
    return (*devices[:selected], timed, *devices[selected + 1 :])


def _with_kept_speed(device: Device) -> Device:
    throughput = kept_throughput(device)
    return device if throughput is None else replace(device, throughput=throughput)


def _busy_notes(device: Device) -> tuple[str, ...]:
    held = device.total_memory_bytes - device.free_memory_bytes
    if device.kind == "cpu" or held < _BUSY * device.total_memory_bytes:
        return ()
    return (
        f"{device.name} has {format_bytes(device.free_memory_bytes)} free of "
        f"{format_bytes(device.total_memory_bytes)}: others hold the rest.",
    )
