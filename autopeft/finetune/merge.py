"""The base model with the trained update folded in."""

from pathlib import Path
from typing import Any

from autopeft.errors import invalid
from autopeft.methods import Method, get_method
from autopeft.profiling.tokenizer import load_tokenizer
from autopeft.tuned import TunedConfig


def check_mergeable(tuned: TunedConfig, key: str, owner: str) -> Method:
    """Returns the method of a config whose update can be folded into the base.

    Raises:
        InvalidValueError: the method does not merge, or not with what quantization made of the base.
    """
    method = get_method(tuned.candidate.method)
    if method.merge is None:
        raise invalid(key, owner, f"left out: {method.title} does not merge", tuned.candidate.method)
    if tuned.candidate.quantization != "none" and method.capabilities.changes_base:
        raise invalid(
            key, owner, f"left out: {method.title} starts from what quantization did to its base",
            tuned.candidate.quantization,
        )  # fmt: skip
    return method


def write_merged(tuned: TunedConfig, trained: Path, target: Path, attached: Any = None) -> None:
    """Writes the base in its own precision with the update of a trained folder folded in, and its tokenizer.

    Args:
        tuned: of a method that merges.
        trained: where the method saved what was trained.
        target: the folder to write, in safetensors.
        attached: the trained model, where it is loaded; it is merged itself unless its base is quantized.
    """
    if attached is None or tuned.candidate.quantization != "none":
        attached, _ = tuned.load_trained(trained, device="cpu", quantized=False)
    merge = get_method(tuned.candidate.method).merge
    if merge is None:
        raise RuntimeError("A method that does not merge was not refused.")
    merge(attached).save_pretrained(target, safe_serialization=True)
    load_tokenizer(str(trained)).save_pretrained(target)
