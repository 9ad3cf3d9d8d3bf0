"""The base model: loaded once per worker, hashed, and brought back after a method that changes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopeft.environment import ALLOW_PICKLE, pickles_allowed, remote_code_trusted
from autopeft.errors import ModelError
from autopeft.profiling.tokenizer import load_tokenizer
from autopeft.quantization import get_quantization, stop_repacking
from autopeft.tasks import get_task
from autopeft.values.names import Dtype
from autopeft.values.profiles import ModelProfile

MOST_MISSING = 0.5
"""Share of the parameters that a checkpoint may lack: a pooler is often missing, a whole model is another model."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """A task model as loaded, its head freshly drawn from ``head_seed``, with its tokenizer.

    Attributes:
        fingerprint: hash of every weight and buffer.
    """

    model: Any
    tokenizer: Any
    fingerprint: str


def load_base(
    profile: ModelProfile,
    *,
    quantization: str,
    dtype: Dtype,
    head_seed: int,
    device: str,
    label_names: Sequence[str] = (),
) -> Base:
    """Returns the base model on the device, quantized as named, nothing trainable.

    Args:
        profile: the model and the task to load it for.
        quantization: a scheme of the catalogue.
        dtype: of the weights that are not quantized.
        label_names: in the order of their numbers, where the task has labels.
        head_seed: the fresh task head is drawn from it, so that every trial starts from the same one.
        device: torch's name for it.

    Raises:
        ModelError: the weights are missing, cut short or not this architecture's.
    """
    import torch
    from safetensors import SafetensorError

    tokenizer = load_tokenizer(profile.source)
    if profile.weight_format == "none" and Path(profile.source).is_dir():
        raise ModelError(f"The model folder {profile.source} has no weights.\nFetch or save the model there.")
    if profile.weight_format == "pytorch" and not pickles_allowed():
        raise ModelError(
            f"The weights of {profile.source} are pickled, and a pickle can run code when it is opened.\n"
            f"Save them as safetensors, or trust them for this run with {ALLOW_PICKLE}=1."
        )
    torch.manual_seed(head_seed)
    try:
        model, told = _task_class(profile).from_pretrained(
            **_load_options(profile, quantization, dtype, device),
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, SafetensorError) as error:
        raise ModelError(f"The weights of {profile.source} cannot be loaded: {error}") from error
    _check_loaded(profile, model, told)
    model.config.pad_token_id = tokenizer.pad_token_id
    if label_names:
        # Metrics of tagged words read the names, and so does whoever gets the merged model.
        model.config.id2label = dict(enumerate(label_names))
        model.config.label2id = {label: place for place, label in enumerate(label_names)}
    if quantization == "none":
        model.to(device)
        model.requires_grad_(requires_grad=False)
    else:
        from peft import prepare_model_for_kbit_training

        stop_repacking(model)
        # Norms in float32, and inputs that require gradients: what 4- and 8-bit training needs to be stable.
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return Base(model=model, tokenizer=tokenizer, fingerprint=fingerprint(model))


def _check_loaded(profile: ModelProfile, model: Any, told: Mapping[str, Any]) -> None:
    """Raises where the weights are not this config's; a head of other sizes, or none, is drawn anew instead."""
    heads = tuple(module.name for module in profile.modules if module.head)
    others = sorted(key for key, *_ in told["mismatched_keys"] if not key.startswith(heads))
    if others:
        raise ModelError(
            f"The weights of {profile.source} are not of the sizes in its config.json: {others[0]} and "
            f"{len(others) - 1} others differ.\nFetch or save the model again."
        )
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    missing = sum(sizes.get(key, 0) for key in told["missing_keys"] if not key.startswith(heads))
    if missing > MOST_MISSING * sum(sizes.values()):
        raise ModelError(
            f"The weights of {profile.source} are not this architecture's: they lack {missing:,} of its "
            f"{sum(sizes.values()):,} parameters.\nFetch or save the model again."
        )


def _task_class(profile: ModelProfile) -> Any:
    import transformers

    name = get_task(profile.task).auto_class[profile.kind]
    return getattr(transformers, name)


def _load_options(profile: ModelProfile, quantization: str, dtype: Dtype, device: str) -> dict[str, Any]:
    where, options = location(profile.source)
    if "gguf_file" in options:
        from transformers import GgufConfig

        options["quantization_config"] = GgufConfig(dequantize=True)
    config = get_quantization(quantization).config(dtype)
    if config is not None:
        options |= {"quantization_config": config, "device_map": {"": device}}
    if profile.labels:
        options["num_labels"] = profile.labels
    return {"pretrained_model_name_or_path": where, "dtype": dtype, **options}


def location(source: str) -> tuple[str, dict[str, Any]]:
    """Returns what ``from_pretrained`` takes for a folder, a hub name or a GGUF file: no code, no pickle unasked."""
    path = Path(source)
    if path.suffix == ".gguf":
        return str(path.parent), {"gguf_file": path.name, "trust_remote_code": False}
    only_safe = {} if pickles_allowed() else {"use_safetensors": True}
    return source, {"trust_remote_code": remote_code_trusted(), **only_safe}


def fingerprint(model: Any) -> str:
    """Returns a hash over the names and bytes of all weights and buffers: equal exactly when all are equal."""
    import torch
    import xxhash

    digest = xxhash.xxh3_128()
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def copy_weights(model: Any) -> dict[str, Any]:
    """Returns a copy of all weights and buffers in main memory, to restore a base that a method changes.

    On the device a second base would stand beside the one that trains, which no estimate counts.
    """
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}


def restore_weights(model: Any, weights: Mapping[str, Any]) -> None:
    """Writes the copied weights back in place."""
    import torch

    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(weights[name])
