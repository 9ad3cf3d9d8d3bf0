"""Reads the tensors of a safetensors file as float32 arrays, bfloat16 too, without torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autopeft.errors import ModelError

_KINDS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
_LENGTH_BYTES = 8


def read_tensors(path: Path) -> dict[str, Any]:
    """Returns the tensors by name, as float32 arrays; nothing in the file is run.

    Raises:
        ModelError: the file is missing, cut short, or no safetensors file.
    """
    import numpy as np

    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    start, header = _header(path, data)
    return {name: _tensor(path, name, entry, data[start:]) for name, entry in header.items() if name != "__metadata__"}


def _header(path: Path, data: Any) -> tuple[int, Mapping[str, Any]]:
    length = int.from_bytes(data[:_LENGTH_BYTES].tobytes(), "little")
    end = _LENGTH_BYTES + length
    if len(data) < end or length < 2:
        raise ModelError(f"{path} is no safetensors file, or is cut short.")
    try:
        header = json.loads(data[_LENGTH_BYTES:end].tobytes())
    except ValueError as error:
        raise ModelError(f"{path} is no safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise ModelError(f"{path} is no safetensors file: its header is no object.")
    return end, header


def _tensor(path: Path, name: str, entry: Mapping[str, Any], data: Any) -> Any:
    import numpy as np

    begin, end = entry["data_offsets"]
    raw = data[begin:end]
    if len(raw) != end - begin:
        raise ModelError(f"{path} is cut short: {name} needs {end - begin:,} bytes; there are {len(raw):,}.")
    shape = tuple(entry["shape"])
    if entry["dtype"] == "BF16":
        # bfloat16 is float32's upper half.
        wide = raw.view("<u2").astype(np.uint32) << 16
        return wide.view(np.float32).reshape(shape)
    kind = _KINDS.get(entry["dtype"])
    if kind is None:
        raise ModelError(f"{name} of {path} is stored as {entry['dtype']}, which is not read here.")
    return raw.view(kind).astype(np.float32).reshape(shape)
