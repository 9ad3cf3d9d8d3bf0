"""The speed of this machine's devices as last timed, kept so that later estimates need not time them again."""

import hashlib
from pathlib import Path

from autopeft.errors import FileFormatError
from autopeft.files import parse, plain, read_json, to_json, write_text
from autopeft.profiling.cache import cache_folder
from autopeft.profiling.cpu import cpu_count
from autopeft.values.profiles import Device, Throughput


def _path(device: Device) -> Path:
    processors = str(cpu_count()) if device.kind == "cpu" else ""
    key = hashlib.sha256(f"{device.kind}\n{device.name}\n{processors}\n{device.mig}".encode()).hexdigest()[:16]
    return cache_folder() / "throughput" / f"{key}.json"


def keep_throughput(device: Device, throughput: Throughput) -> None:
    """Keeps what was timed; a cache that cannot be written costs only time, so that is no error."""
    try:
        write_text(_path(device), to_json(plain(throughput)))
    except OSError:
        return


def kept_throughput(device: Device) -> Throughput | None:
    """Returns what was last timed on a device of this name, None where it never was."""
    path = _path(device)
    if not path.is_file():
        return None
    try:
        return parse(Throughput, read_json(path), str(path))
    except FileFormatError:  # cut short or of another version: it is timed anew when that is asked for
        return None
