"""transformers' config object of a model, with errors a user can act on."""

import struct
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autopeft.environment import remote_code_trusted
from autopeft.errors import ModelError, close_match
from autopeft.profiling.code import brings_code, needs_code
from autopeft.profiling.source import ModelSource


def load_config(source: ModelSource) -> Any:
    """Returns transformers' config of a model; code that it brings along runs only where this run lets it.

    Raises:
        ModelError: the model type is unknown to the installed transformers, a value in the config is invalid, or the
            model needs code that may not run, or that does not.
    """
    if source.gguf is not None:
        return _from_gguf(source.name, source.gguf)
    return _by_own_code(source.name) if source.own_code else _from_dictionary(source)


def has_class(config: Any, auto_class: str | None) -> bool:
    """Whether one of transformers' auto classes builds a model of this config, with the code that may run."""
    import transformers

    if auto_class is None:
        return False
    own = remote_code_trusted() and auto_class in (getattr(config, "auto_map", None) or {})
    return own or type(config) in getattr(transformers, auto_class)._model_mapping


def _by_own_code(name: str) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=remote_code_trusted())
    except (OSError, ValueError, TypeError, ImportError, AttributeError) as error:
        raise ModelError(f"The code that {name} brings along does not give a config: {error}") from error


def _from_dictionary(source: ModelSource) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CONFIG_MAPPING

    content = dict(source.config or {})
    model_type = content.get("model_type")
    if not isinstance(model_type, str):
        raise ModelError(f"config.json of {source.name} names no `model_type`.\nSave the model with transformers.")
    if model_type not in CONFIG_MAPPING:
        if brings_code(content):
            raise needs_code(f"The model {source.name} of type {model_type!r}")
        raise ModelError(_unknown_type(source.name, model_type, known=CONFIG_MAPPING))
    try:
        return CONFIG_MAPPING[model_type].from_dict(content)
    except (StrictDataclassError, ValueError, TypeError) as error:
        raise ModelError(f"config.json of {source.name} is not valid for {model_type!r}: {error}") from error


def _unknown_type(name: str, model_type: str, *, known: Any) -> str:
    advice = close_match(model_type, known.keys()) or "A newer transformers may know it."
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
