"""The speed of this machine's devices as last timed, kept so that later estimates need not time them again."""

import hashlib
from pathlib import Path

from autopeft.profiling.cache import cache_folder, load_value, save_value
from autopeft.profiling.cpu import cpu_count
from autopeft.values.profiles import Device, Throughput


def _path(device: Device) -> Path:
    parts = [device.kind, device.name, str(cpu_count()) if device.kind == "cpu" else "", str(device.mig)]
    if device.mig:
        parts.append(str(device.total_memory_bytes))  # what tells a card's slices apart: they have one name
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return cache_folder() / "throughput" / f"{key}.json"


def keep_throughput(device: Device, throughput: Throughput) -> None:
    """Keeps what was timed."""
    save_value(_path(device), throughput)


def kept_throughput(device: Device) -> Throughput | None:
    """Returns what was last timed on a device of this name, None where it never was, or by another version."""
    return load_value(_path(device), Throughput)
