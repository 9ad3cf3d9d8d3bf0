"""Rules of `weight_files`: size without loading, and a damaged file is named."""

import json
import struct
from typing import Any

import pytest

from autopeft.errors import ModelError
from autopeft.profiling.weights import weight_files


def safetensors(header: Any, body: bytes = b"\0" * 16) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


GOOD = {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, "__metadata__": {"format": "pt"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header is cut short"),
        (b"\x01\x02", "header is cut short"),
        (struct.pack("<Q", 1 << 40) + b"{}", "header is cut short"),
        (safetensors(b"not json at all"), "header cannot be read"),
        (safetensors(b"[1, 2]"), "header cannot be read"),
        (safetensors({"w": {"shape": [4]}}), "header cannot be read"),
        (safetensors(GOOD, b"\0" * 15), "holds .* bytes where its header says"),
        (safetensors(GOOD, b"\0" * 17), "holds .* bytes where its header says"),
    ],
)
def test_damaged_safetensors_is_named(tmp_path, content, message):
    """A header that does not match the file is told before anything is loaded."""
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=rf"model\.safetensors is corrupted: .*{message}"):
        weight_files(tmp_path)


def test_parts_are_added_up_and_must_be_there(tmp_path):
    """A sharded model is as large as the parts that its index names; a missing one is named."""
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(safetensors(GOOD))
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors", "z": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weight_files(tmp_path) == ("safetensors", 2 * len(safetensors(GOOD)))
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(ModelError, match=r"names b\.safetensors, which is not in the folder"):
        weight_files(tmp_path)


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_damaged_index_is_named(tmp_path, content):
    """An index without its map is an error of the folder, not a model without weights."""
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match=r"index\.json is corrupted"):
        weight_files(tmp_path)


def test_torch_files_are_recognised(tmp_path):
    """A zip archive or a pickle passes, anything else is corrupted."""
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(b"PK\x03\x04rest")
    assert weight_files(tmp_path) == ("pytorch", 8)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin is corrupted"):
        weight_files(tmp_path)
