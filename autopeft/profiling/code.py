"""Code that a model brings along beside its config: none runs unless this run was told to let it."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autopeft.errors import ModelError

_MAP = "auto_map"
NOTE = "Code that the model brings along builds it, as --trust-remote-code lets it."


def brings_code(config: Mapping[str, Any]) -> bool:
    """Whether a config names classes of the model's own."""
    return bool(config.get(_MAP))


def needs_code(what: str) -> ModelError:
    """Returns the error for what only its own code can read."""
    return ModelError(
        f"{what} needs code that the model brings along, and this run was not told to let it run.\n"
        "Such code can do whatever you can. Read it, then add --trust-remote-code; in Python use "
        "autopeft.trust_remote_code()."
    )


def code_hash(source: str, folder: Path, config: Mapping[str, Any]) -> str:
    """Returns the SHA-256 over all Python files of the places that a config's classes lie in.

    Args:
        source: what the user named.
        folder: where its config lies.
        config: one that brings code.

    Raises:
        ModelError: the code lies on a hub that cannot be reached.
    """
    digest = hashlib.sha256()
    for place in (folder if folder == Path(source).expanduser() else _fetched(source), *map(_fetched, _others(config))):
        for path in sorted(place.rglob("*.py")):
            digest.update(f"{path.relative_to(place)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _others(config: Mapping[str, Any]) -> list[str]:
    """Returns the other repositories that classes are taken from: ``repository--module.Class``."""
    return sorted({name.partition("--")[0] for name in _classes(config[_MAP]) if "--" in name})


def _classes(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | Mapping):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _classes(one)


def _fetched(repository: str) -> Path:
    """Returns the folder of a hub repository's Python files, fetched where the local cache lacks them."""
    from huggingface_hub import errors, snapshot_download

    transport: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]  # whichever HTTP library it uses
    try:
        return Path(snapshot_download(repository, allow_patterns=["*.py"]))
    except (OSError, transport, errors.HFValidationError) as error:
        raise ModelError(f"The code of {repository} cannot be fetched from the hub: {error}") from error
