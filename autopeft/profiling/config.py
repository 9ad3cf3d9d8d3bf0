"""transformers' config object of a model, with errors a user can act on."""

import struct
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autopeft.errors import ModelError, close_match
from autopeft.profiling.source import ModelSource


def load_config(source: ModelSource) -> Any:
    """Returns transformers' config of a model; code from the model's folder is never run.

    Raises:
        ModelError: the model type is unknown to the installed transformers, or a value in the config is invalid.
    """
    return _from_dictionary(source) if source.gguf is None else _from_gguf(source.name, source.gguf)


def _from_dictionary(source: ModelSource) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CONFIG_MAPPING

    content = dict(source.config or {})
    model_type = content.get("model_type")
    if not isinstance(model_type, str):
        raise ModelError(f"config.json of {source.name} names no `model_type`.\nSave the model with transformers.")
    if model_type not in CONFIG_MAPPING:
        raise ModelError(_unknown_type(source.name, model_type, custom="auto_map" in content, known=CONFIG_MAPPING))
    try:
        return CONFIG_MAPPING[model_type].from_dict(content)
    except (StrictDataclassError, ValueError, TypeError) as error:
        raise ModelError(f"config.json of {source.name} is not valid for {model_type!r}: {error}") from error


def _unknown_type(name: str, model_type: str, *, custom: bool, known: Any) -> str:
    advice = (
        "It needs code from its own folder, which autopeft does not run."
        if custom
        else close_match(model_type, known.keys()) or "A newer transformers may know it."
    )
    return (
        f"`model_type` of {name} is {model_type!r}, which the installed transformers {version('transformers')} "
        f"does not know.\n{advice}"
    )


def _from_gguf(name: str, path: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    except (ValueError, KeyError, IndexError, TypeError, OSError, struct.error) as error:
        raise ModelError(
            f"{name} cannot be read as a GGUF model by the installed transformers "
            f"{version('transformers')}: {error}\nConvert it to safetensors, or fetch it again."
        ) from error
