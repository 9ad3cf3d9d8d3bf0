"""What the starts share that repair a 4-bit base: its original weights, and codes written anew in place.

The base is quantized by bitsandbytes when it is loaded; what it lost is known from the checkpoint that it was loaded
from. Codes and block scales are changed in place, so that whoever holds a copy of the base's state can put it back.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from autopeft.errors import ModelError
from autopeft.methods import _lora, _peft, _starts
from autopeft.methods._declaration import Capabilities
from autopeft.methods._targets import target_modules, target_violations
from autopeft.values.candidates import Setup

CAPABILITIES = Capabilities(
    tasks=_peft.ALL_TASKS, models=_peft.ALL_KINDS, quantized_base=True, mergeable=False, identity_at_start=False,
    adds_latency=True, changes_base=True, moves_base=True, takes_targets=True, takes_layers=True, needs_quantized=True,
)  # fmt: skip
SCHEMES = ("fp4", "fp4-double", "nf4", "nf4-double")
START_FILE = "start_config.json"
"""peft's config under another name: plain peft would put the factors beside codes that they do not fit."""


def violations(setup: Setup, legal: Any) -> tuple[str, ...]:
    """Returns why a 4-bit base cannot be repaired."""
    found = _lora.violations(setup, CAPABILITIES, legal)
    scheme, form = setup.candidate.quantization, setup.model.weight_format
    if scheme not in SCHEMES:
        found = (*found, f"The method repairs a 4-bit base: `quantization` must be one of {', '.join(SCHEMES)};"
                 f" got {scheme!r}.")  # fmt: skip
    if form != "safetensors":
        found = (*found, f"The weights before quantization must be safetensors; {setup.model.source} has {form}.")
    if not target_violations(setup) and any(m.kind == "conv1d" for m in target_modules(setup)):
        found = (
            *found,
            "The weights before quantization are stored transposed (Conv1D), which the method does not take.",
        )
    return found


def attach(model: Any, setup: Setup, start: Callable[[Any, Any], None]) -> Any:
    """Returns the model with LoRA attached and each layer started from its original weight.

    Args:
        model: the task model, its base in 4 bits.
        setup: a legal one.
        start: (LoRA layer, original weight in float32 of shape (out, in)) sets its factors and codes.
    """
    attached = _peft.attach(model, _lora.config(setup))
    if _starts.without_values(attached):
        return attached
    read = original_weights(setup)
    for name, layer in _starts.layers(attached):
        weight = layer.get_base_layer().weight
        # What stays in full precision (T5's feed-forward outputs do) has lost nothing and starts as LoRA does.
        if getattr(weight, "quant_state", None) is None:
            continue
        start(layer, read(name.removeprefix("base_model.model.")).to(weight.device).float())
    return attached


def original_weights(setup: Setup) -> Callable[[str], Any]:
    """Returns module name → the weight in the checkpoint that the base was quantized from.

    Raises:
        ModelError: by the function, where the checkpoint has no such weight.
    """
    from safetensors import safe_open

    files = {}
    for path in _weight_files(setup.model.source):
        with safe_open(path, framework="pt") as stored:
            files.update(dict.fromkeys(stored.keys(), path))

    def read(module: str) -> Any:
        key = _key(f"{module}.weight", files, setup.model.source)
        with safe_open(files[key], framework="pt") as stored:
            return stored.get_tensor(key)

    return read


def _weight_files(source: str) -> list[Path]:
    from transformers.utils import cached_file

    index = cached_file(source, "model.safetensors.index.json", _raise_exceptions_for_missing_entries=False)
    if index is None:
        return [Path(cached_file(source, "model.safetensors"))]
    return sorted(Path(index).parent.glob("*.safetensors"))


def _key(wanted: str, keys: Any, source: str) -> str:
    """Returns the stored name of a weight; a checkpoint may lack the name of the body, or have one more."""
    if wanted in keys:
        return wanted
    near = [key for key in keys if wanted.endswith(f".{key}") or key.endswith(f".{wanted}")]
    if len(near) != 1:
        raise ModelError(f"The checkpoint of {source} has no weight of the name {wanted}, before quantization.")
    return str(near[0])


def dequantized(layer: Any) -> Any:
    """Returns the weight that the codes beside a LoRA layer stand for, float32 of shape (out, in)."""
    from bitsandbytes.functional import dequantize_4bit

    weight = layer.get_base_layer().weight
    return dequantize_4bit(weight.data, weight.quant_state).float()


def encode(layer: Any, weight: Any) -> Any:
    """Writes the codes nearest to a weight in place, in the base's own scheme, and returns what they stand for."""
    from bitsandbytes.functional import quantize_4bit, quantize_blockwise

    stored = layer.get_base_layer().weight
    state = stored.quant_state
    codes, fresh = quantize_4bit(
        weight.to(state.dtype).contiguous(), blocksize=state.blocksize, quant_type=state.quant_type,
        quant_storage=stored.dtype,
    )  # fmt: skip
    stored.data.copy_(codes)
    if state.nested:
        # The offset stays, as it is written into the state's description; only the scales around it are coded anew.
        scales, nested = quantize_blockwise(fresh.absmax - state.offset, blocksize=state.state2.blocksize)
        state.absmax.copy_(scales)
        state.state2.absmax.copy_(nested.absmax)
    else:
        state.absmax.copy_(fresh.absmax)
    return dequantized(layer)


def product(layer: Any) -> Any:
    """Returns the scaled product of a LoRA layer's factors, of shape (out, in)."""
    a, b = (getattr(layer, key)[_peft.ADAPTER].weight.detach().float() for key in ("lora_A", "lora_B"))
    return _starts.scaling_of(layer) * (b @ a)


def nearest(layer: Any, rest: Any) -> None:
    """Sets a LoRA layer's factors to the best approximation of a matrix at its rank."""
    import torch

    u, values, vh = torch.linalg.svd(rest, full_matrices=False)
    _starts.put(layer, _starts.principal(u, values, vh, _starts.rank_of(layer), _starts.scaling_of(layer)))


def save(attached: Any, folder: Path) -> None:
    """Writes the factors and the head in peft's tensor format; the codes follow from the checkpoint at `load`."""
    _peft.save(attached, folder)
    (folder / _peft.CONFIG_FILE).replace(folder / START_FILE)
