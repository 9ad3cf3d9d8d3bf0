"""A model's tokenizer, to count tokens with."""

import json
from pathlib import Path
from typing import Any

from autopeft.environment import remote_code_trusted
from autopeft.errors import ModelError
from autopeft.profiling.code import brings_code, needs_code

_FILES = (
    "tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model",
    "source.spm", "tekken.json",
)  # fmt: skip
_ADVICE = "Put the model's tokenizer files beside its config."


def load_tokenizer(source: str) -> Any:
    """Returns the tokenizer of a model folder, hub name or GGUF file, ready to pad; no weights are read.

    Raises:
        ModelError: the model has none, it cannot be read, or it needs code that may not run.
    """
    from transformers import AutoTokenizer

    from autopeft.tasks import ready_tokenizer

    path = Path(source).expanduser()
    if path.is_dir() and not any((path / name).is_file() for name in _FILES) and not _brings_code(source):
        # transformers would make an empty one from the config, which knows no word.
        raise ModelError(f"The model folder {source} has no tokenizer.\n{_ADVICE}")
    where, options = (path.parent, {"gguf_file": path.name}) if path.is_file() else (source, {})
    try:
        # Left open, transformers would ask whether to run code that lies beside the files.
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=remote_code_trusted(), **options)
        return ready_tokenizer(tokenizer)
    except (OSError, ValueError, KeyError, ImportError) as error:
        if _brings_code(source) and not remote_code_trusted():
            raise needs_code(f"The tokenizer of {source}") from error
        raise ModelError(f"The tokenizer of {source} cannot be loaded: {error}\n{_ADVICE}") from error


def _brings_code(source: str) -> bool:
    """Whether the configs that lie here, or in the hub's local cache, name classes of the model's own."""
    from huggingface_hub import try_to_load_from_cache

    for name in ("tokenizer_config.json", "config.json"):
        here = Path(source).expanduser()
        found = here / name if here.exists() else try_to_load_from_cache(source, name)
        if isinstance(found, str | Path) and Path(found).is_file() and brings_code(_content(Path(found))):
            return True
    return False


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # said by whoever reads it for what it means
        return {}
    return content if isinstance(content, dict) else {}
