"""This machine's processor and memory, within the limits that its container sets."""

import os
import platform
from pathlib import Path

from autopeft.values.profiles import Device

_CGROUP = Path("/sys/fs/cgroup")
_CPUINFO = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")
"""CPU flags of native bfloat16 matrix products, the fastest first."""


def cpu_device() -> Device:
    """Returns the CPU as a device whose memory is the RAM that this process may use."""
    total, free = memory_bytes()
    return Device(index=0, name=cpu_name(), kind="cpu", total_memory_bytes=total, free_memory_bytes=free)


def cpu_count() -> int:
    """Returns how many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """Returns the processor's name as the system states it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def bfloat16_flag() -> str | None:
    """Returns the CPU flag that promises native bfloat16, None where there is none."""
    flags = set(_cpuinfo("flags").split())
    return next((flag for flag in BFLOAT16_FLAGS if flag in flags), None)


def memory_bytes() -> tuple[int, int]:
    """Returns total and free RAM: the machine's, or the control group's where that allows less."""
    import psutil

    machine = psutil.virtual_memory()
    total, free = int(machine.total), int(machine.available)
    limit, used = _cgroup_limit()
    if limit is None or limit >= total:
        return total, free
    return limit, max(0, min(free, limit - used))


def _cgroup_limit() -> tuple[int | None, int]:
    """Returns the control group's limit and what it has used of it; version 2 first, then version 1."""
    for limit, used, stat in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        text = _read(_CGROUP / limit)
        if text.isdecimal():
            held = _read(_CGROUP / used)
            return int(text), max(0, int(held or 0) - _reclaimable(_read(_CGROUP / stat)))
    return None, 0


def _reclaimable(stat: str) -> int:
    """Returns the file cache counted as used, which the kernel gives back when memory is asked for."""
    values = dict(line.split(maxsplit=1) for line in stat.splitlines() if " " in line)
    return int(values.get("inactive_file", values.get("total_inactive_file", 0)))


def _cpuinfo(key: str) -> str:
    for line in _read(_CPUINFO).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:  # the file is not there on other systems, or not for this process to read
        return ""
