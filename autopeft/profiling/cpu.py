"""This machine's processor and memory, within the limits that its container or its cluster's scheduler sets."""

import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from autopeft.values.profiles import Device

_CGROUP = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_CPUINFO = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")
"""CPU flags of native bfloat16 matrix products, the fastest first."""


def cpu_device() -> Device:
    """Returns the CPU as a device whose memory is the RAM that this process may use."""
    total, free = memory_bytes()
    return Device(index=0, name=cpu_name(), kind="cpu", total_memory_bytes=total, free_memory_bytes=free)


def cpu_count() -> int:
    """Returns how many processors this process may keep busy: those it may run on, or its share of their time."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = [math.ceil(share) for share in _shares()]
    return max(1, min([bound, *shares]))


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
    limits = [(limit, used) for limit, used in _memory_limits() if limit < total]
    return (
        min([total, *(limit for limit, _ in limits)]),
        max(0, min([free, *(limit - used for limit, used in limits)])),
    )


def _memory_limits() -> Iterator[tuple[int, int]]:
    """Yields the limit of each control group that this process is in, and what the group has used of it."""
    for version, limit, used in (
        (2, "memory.max", "memory.current"),
        (1, "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        for group in _groups(version, "memory"):
            text = _read(group / limit)
            if text.isdecimal():
                held = int(_read(group / used) or 0)
                yield int(text), max(0, held - _reclaimable(_read(group / "memory.stat")))


def _shares() -> Iterator[float]:
    """Yields how many processors' time each control group of this process may take, where that is limited."""
    for group in _groups(2, "cpu"):
        yield from _share(*_read(group / "cpu.max").split())
    for group in _groups(1, "cpu"):
        yield from _share(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _share(quota: str = "", period: str = "") -> Iterator[float]:
    """Yields a quota over its period; nothing where either is not a number, as of a group without a limit."""
    if quota.isdecimal() and period.isdecimal() and int(period):
        yield int(quota) / int(period)


def _groups(version: int, controller: str) -> Iterator[Path]:
    """Yields the folder of the control group that this process is in, and of all that it lies in.

    Each of them may set a limit, as a cluster's scheduler does for a job and a container's engine for the container.
    Inside a container the path may be the host's, which is not to be seen there: then the root has the limits.
    """
    root = _CGROUP if version == 2 else _CGROUP / controller
    own = next((path for names, path in _memberships() if (controller in names if version == 1 else not names)), "/")
    inside = Path(own.strip("/"))
    for part in (inside, *inside.parents):
        yield root / part


def _memberships() -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields controllers and path of each hierarchy that this process is in; version 2's has no names."""
    for line in _read(_OWN_GROUPS).splitlines():
        _, names, path = line.split(":", 2)
        yield tuple(filter(None, names.split(","))), path


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
