"""The weight files of a model folder: their size, and whether they are whole, without loading them."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from autopeft.errors import ModelError

Format = Literal["safetensors", "pytorch", "gguf", "none"]
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000  # safetensors' own limit
_PYTORCH_STARTS = (b"PK", b"\x80")  # a zip archive, or a pickle


def weight_files(folder: Path, *, arriving: bool = False) -> tuple[Format, int | None]:
    """Returns the format and total size in bytes of a folder's weights; ``("none", None)`` where there are none.

    Args:
        folder: the model's.
        arriving: whether parts that an index names may yet have to be fetched, as after a download that was
            interrupted: such weights count as none.

    Raises:
        ModelError: a file is cut short or corrupted, or a part that an index names is missing.
    """
    safetensors = _parts(folder, "model.safetensors", arriving=arriving)
    if safetensors:
        for path in safetensors:
            _check_safetensors(path)
        return "safetensors", _size(safetensors)
    pytorch = _parts(folder, "pytorch_model.bin", arriving=arriving)
    if pytorch:
        for path in pytorch:
            _check_pytorch(path)
        return "pytorch", _size(pytorch)
    return "none", None


def _parts(folder: Path, name: str, *, arriving: bool) -> list[Path]:
    """Returns the one weight file, or the parts that its index names, or nothing."""
    whole, index = folder / name, folder / f"{name}.index.json"
    if whole.is_file() or not index.is_file():
        return [whole] if whole.is_file() else []
    try:
        names = sorted({str(part) for part in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{index} is corrupted: it must map weights to files.\nFetch the model again.") from error
    outside = [part for part in names if Path(part).is_absolute() or ".." in Path(part).parts]
    if outside:
        raise ModelError(f"{index} names {outside[0]}, which lies outside its folder.\nFetch the model again.")
    missing = [part for part in names if not (folder / part).is_file()]
    if not missing:
        return [folder / part for part in names]
    if arriving:
        return []
    raise ModelError(f"{index} names {missing[0]}, which is not in the folder.\nFetch the model again.")


def _size(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _check_safetensors(path: Path) -> None:
    """Raises where the header is not what the format demands or the file is not as long as it says."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(_LENGTH_BYTES)
        length = struct.unpack("<Q", start)[0] if len(start) == _LENGTH_BYTES else 0
        if not 2 <= length <= min(_LONGEST_HEADER, size - _LENGTH_BYTES):
            raise _corrupted(path, "its header is cut short")
        header = stream.read(length)
    try:
        tensors = {key: value for key, value in json.loads(header).items() if key != "__metadata__"}
        end = max((value["data_offsets"][1] for value in tensors.values()), default=0)
    except (ValueError, AttributeError, KeyError, TypeError, IndexError) as error:
        raise _corrupted(path, "its header cannot be read") from error
    if _LENGTH_BYTES + length + end != size:
        raise _corrupted(path, f"it holds {size} bytes where its header says {_LENGTH_BYTES + length + end}")


def _check_pytorch(path: Path) -> None:
    with path.open("rb") as stream:
        if not stream.read(2).startswith(_PYTORCH_STARTS):
            raise _corrupted(path, "it does not start like a file of torch")


def _corrupted(path: Path, how: str) -> ModelError:
    return ModelError(f"{path} is corrupted: {how}.\nFetch or save the model again.")
