"""Where a model comes from: a local folder, a GGUF file or a hub name, found without loading weights."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopeft.environment import remote_code_trusted
from autopeft.errors import ModelError, first_line
from autopeft.profiling.code import brings_code, code_hash
from autopeft.profiling.weights import Format, weight_files

_HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_GGUF_SAMPLE_BYTES = 1 << 20
# Written by the library that saved the config, without meaning for the structure.
_NOT_STRUCTURE = frozenset({"_name_or_path", "transformers_version", "dtype", "torch_dtype"})
# What transformers loads of a repository, the first that there is: the whole file, or its parts. Others may lie beside
# it, such as the same weights as another library keeps them (``consolidated.safetensors``).
_LOADED: tuple[tuple[Format, str, str], ...] = (
    ("safetensors", r"model\.safetensors", r"model[^/]*-of-\d+\.safetensors"),
    ("pytorch", r"pytorch_model\.bin", r"pytorch_model[^/]*-of-\d+\.bin"),
)


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A model's config as found, and what is known of its weights.

    Attributes:
        name: what the user gave.
        config: content of ``config.json``; None for a GGUF file, whose metadata is read when it is needed.
        gguf: the GGUF file, None for anything else.
        identity: SHA-256 that changes when the structure may have changed, the code that builds it included.
        own_code: whether code that the model brings along builds it: it names some, and this run lets it.
    """

    name: str
    config: Mapping[str, Any] | None
    gguf: Path | None
    identity: str
    weight_format: Format
    weight_bytes: int | None
    own_code: bool = False


def find_model(source: str) -> ModelSource:
    """Returns the model that a user named.

    Raises:
        ModelError: there is no such folder, file or hub model, or its config or weights are corrupted.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _local(source, path)
    if path.is_file():
        return _gguf(source, path)
    if not _HUB_NAME.match(source) or path.suffix == ".gguf":
        raise ModelError(f"The model {source!r} is neither a folder nor a file here.\nCheck the path.")
    return _hub(source)


def fingerprint(config: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a config in canonical form: 64 hex digits, the same wherever it was saved."""
    structure = {key: value for key, value in config.items() if key not in _NOT_STRUCTURE}
    text = json.dumps(structure, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _local(source: str, folder: Path) -> ModelSource:
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"The model folder {source} has no config.json.\nName the folder that holds it.")
    weight_format, weight_bytes = weight_files(folder)
    return _source(source, path, weight_format, weight_bytes)


def _source(name: str, path: Path, weight_format: Format, weight_bytes: int | None) -> ModelSource:
    config = _read_config(path)
    identity, own_code = fingerprint(config), brings_code(config) and remote_code_trusted()
    if own_code:
        identity = hashlib.sha256(f"{identity}\n{code_hash(name, path.parent, config)}".encode()).hexdigest()
    return ModelSource(
        name=name, config=config, gguf=None, identity=identity, weight_format=weight_format,
        weight_bytes=weight_bytes, own_code=own_code,
    )  # fmt: skip


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}.\nFetch or save the model again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} must hold a JSON object; got {type(content).__name__}.")
    return content


def _gguf(source: str, path: Path) -> ModelSource:
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(_GGUF_SAMPLE_BYTES)
    if start[:4] != b"GGUF":
        raise ModelError(f"{source} is a file but no GGUF file.\nName a folder with config.json or a .gguf file.")
    # The metadata stands first: its beginning and the file's size tell models apart without reading it all.
    identity = hashlib.sha256(start + str(size).encode()).hexdigest()
    return ModelSource(
        name=source, config=None, gguf=path, identity=identity, weight_format="gguf", weight_bytes=size
    )  # fmt: skip


def _hub(source: str) -> ModelSource:
    """Returns a hub model from the local cache where it is there, else fetches its config alone."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        cached = try_to_load_from_cache(source, "config.json")
        path = Path(cached if isinstance(cached, str) else hf_hub_download(source, "config.json"))
    except (LocalEntryNotFoundError, OSError) as error:
        if isinstance(error, HfHubHTTPError) and not isinstance(error, LocalEntryNotFoundError):
            raise ModelError(
                f"The hub has no config.json for the model {source!r} that may be read: {first_line(error)}\n"
                "Check the name, or log in to the hub where access to the model is restricted."
            ) from error
        raise ModelError(_not_reached(source)) from error
    except HFValidationError as error:
        raise ModelError(f"{source!r} is no model name: {error}") from error
    weight_format, weight_bytes = weight_files(path.parent, arriving=True)
    if weight_bytes is None:
        weight_format, weight_bytes = _hub_weights(source)
    return _source(source, path, weight_format, weight_bytes)


def _not_reached(source: str) -> str:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
    why = "HF_HUB_OFFLINE is set" if offline else "the hub cannot be reached"
    return (
        f"The model {source!r} is neither a folder here nor in the hub's local cache, and {why}.\n"
        "Name a local folder or a .gguf file, or connect to a hub."
    )


def _hub_weights(source: str) -> tuple[Format, int | None]:
    """Returns format and size of the weights on the hub; unknown where it cannot be asked now."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # whichever HTTP library it uses

    try:
        files = HfApi().model_info(source, files_metadata=True, timeout=10).siblings or []
    except (OSError, HTTPError):  # offline or refused: the size is a convenience, the config is already here
        return "none", None
    for weight_format, *kinds in _LOADED:
        for names in kinds:
            sizes = [file.size or 0 for file in files if re.fullmatch(names, file.rfilename)]
            if sizes:
                return weight_format, sum(sizes)
    return "none", None
