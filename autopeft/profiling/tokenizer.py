"""A model's tokenizer, to count tokens with."""

from pathlib import Path
from typing import Any

from autopeft.errors import ModelError

_FILES = (
    "tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model",
    "source.spm", "tekken.json",
)  # fmt: skip
_ADVICE = "Put the model's tokenizer files beside its config."


def load_tokenizer(source: str) -> Any:
    """Returns the tokenizer of a model folder, hub name or GGUF file, ready to pad; no weights are read.

    Raises:
        ModelError: the model has none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    from autopeft.tasks import ready_tokenizer

    path = Path(source).expanduser()
    if path.is_dir() and not any((path / name).is_file() for name in _FILES):
        # transformers would make an empty one from the config, which knows no word.
        raise ModelError(f"The model folder {source} has no tokenizer.\n{_ADVICE}")
    where, options = (path.parent, {"gguf_file": path.name}) if path.is_file() else (source, {})
    try:
        # Left open, transformers would ask whether to run code that lies beside the files.
        return ready_tokenizer(AutoTokenizer.from_pretrained(where, trust_remote_code=False, **options))
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"The tokenizer of {source} cannot be loaded: {error}\n{_ADVICE}") from error
