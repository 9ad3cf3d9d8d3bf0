"""The task model on the meta device, as training builds it: quantized, prepared and with the method attached.

Imported by functions only: it needs torch at import.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.fx.experimental import _config as fx_config

from autopeft.environment import remote_code_trusted
from autopeft.errors import ModelError
from autopeft.estimation.practice import Attention
from autopeft.estimation.tracing.dispatch import Staying
from autopeft.estimation.tracing.layers import layer_shapes, number_place
from autopeft.estimation.tracing.padding_free import choose_attention
from autopeft.methods import get_method
from autopeft.methods._targets import selected_layers
from autopeft.profiling.config import load_config
from autopeft.profiling.shapes import module_shapes
from autopeft.profiling.source import find_model
from autopeft.quantization import get_quantization
from autopeft.tasks import get_task
from autopeft.values.candidates import Candidate, Setup

_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "num_encoder_layers")
_DECODER_DEPTHS = ("num_decoder_layers", "decoder_layers")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A task model without numbers.

    Attributes:
        model: on the meta device, with the method attached.
        base: the task model itself.
        setup: with a profile of the model as built, which may have fewer layers than the user's.
        layers: the transformer layers' modules, in order.
        own: the base's parameters and buffers by ``id``, before the method added to them.
    """

    model: Any
    base: Any
    setup: Setup
    layers: tuple[Any, ...]
    own: frozenset[int]


def network(setup: Setup, kept: Sequence[int], *, on_cpu: bool, attention: Attention = "sdpa") -> Network:
    """Returns the network of a setup with some of its layers.

    Args:
        setup: model, task and candidate.
        kept: indices of the layers to build, ascending.
        on_cpu: whether it is traced for a CPU.
        attention: which one the code that trains asks for.

    Raises:
        ModelError: fewer layers give another model than these of the whole one.
    """
    task = get_task(setup.task)
    config = load_config(find_model(setup.model.source))
    if setup.model.labels and setup.task != "multiple-choice":
        config.num_labels = setup.model.labels
    config.pad_token_id = 0 if getattr(config, "pad_token_id", None) is None else config.pad_token_id
    shallow = len(kept) < setup.model.layers
    if shallow:
        config = _cut(config, setup, kept)
    base = _task_model(config, task.auto_class[setup.model.kind], setup.candidate.dtype)
    choose_attention(base, attention)
    modules = module_shapes(base, setup.model.kind, fresh_head=task.fresh_head)
    if shallow:
        _check_same(setup, modules, kept)
        profile = replace(
            setup.model, layers=len(kept), modules=modules, parameters=sum(m.parameters for m in modules)
        )  # fmt: skip
        setup = replace(setup, model=profile, candidate=_candidate(setup, kept))
    base.requires_grad_(requires_grad=False)
    base = _quantized(base, setup, on_cpu=on_cpu)
    layers = _layers(base, setup)
    own = frozenset(id(tensor) for tensor in (*base.parameters(), *base.buffers()))
    everywhere = fx_config.patch(meta_nonzero_assume_all_nonzero=True)  # type: ignore[attr-defined]
    with torch.device("meta"), everywhere, Staying(on_cpu=on_cpu):
        model = get_method(setup.candidate.method).apply(base, setup)
    return Network(model=model, base=base, setup=setup, layers=layers, own=own)


def _cut(config: Any, setup: Setup, kept: Sequence[int]) -> Any:
    """Returns the config with the kept layers alone; lists with an entry per layer are cut alike."""
    config = copy.deepcopy(config)
    depth = setup.model.layers
    encoder = _encoder_depth(setup)
    halves = [len([k for k in kept if k < encoder]), len([k for k in kept if k >= encoder])]
    values = vars(config)
    for key, value in list(values.items()):
        if isinstance(value, list) and len(value) == depth:
            setattr(config, key, [value[k] for k in kept])
    if encoder == depth:
        _set_depth(config, _DEPTHS, len(kept))
        return config
    _set_depth(config, _DEPTHS, halves[0])
    _set_depth(config, _DECODER_DEPTHS, halves[1])
    return config


def _set_depth(config: Any, names: Sequence[str], depth: int) -> None:
    for name in names:
        if isinstance(getattr(config, name, None), int):
            setattr(config, name, depth)


def _encoder_depth(setup: Setup) -> int:
    if setup.model.kind != "seq2seq":
        return setup.model.layers
    names = {m.layer: m.name for m in setup.model.modules if m.layer is not None}
    return sum(1 for name in names.values() if "decoder" not in name.split("."))


def _check_same(setup: Setup, modules: Sequence[Any], kept: Sequence[int]) -> None:
    built = [layer_shapes(modules, index) for index in range(len(kept))]
    if built != [layer_shapes(setup.model.modules, index) for index in kept]:
        raise ModelError("A model of fewer layers has other layers than the whole one.")


def _candidate(setup: Setup, kept: Sequence[int]) -> Candidate:
    """Returns the candidate for the kept layers: its choice among all layers, by their places among these."""
    candidate = setup.candidate
    if candidate.layers == "all":
        return candidate
    chosen = frozenset(selected_layers(setup.model, candidate))
    places = tuple(place for place, layer in enumerate(kept) if layer in chosen)
    return replace(candidate, layers=f"gradient:{len(places)}", layer_indices=places)


def _task_model(config: Any, auto_class: str, dtype: str) -> Any:
    import transformers

    with torch.device("meta"):
        return getattr(transformers, auto_class).from_config(
            config, dtype=getattr(torch, dtype), trust_remote_code=remote_code_trusted()
        )


def _quantized(base: Any, setup: Setup, *, on_cpu: bool) -> Any:
    config = get_quantization(setup.candidate.quantization).config(setup.candidate.dtype)
    if config is None:
        return base
    from peft import prepare_model_for_kbit_training

    from autopeft.estimation.tracing.quantized import quantize

    base = quantize(base, config, dtype=getattr(torch, setup.candidate.dtype), on_cpu=on_cpu)
    return prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)


def _layers(base: Any, setup: Setup) -> tuple[Any, ...]:
    """Returns the modules that hold one layer each."""
    names: dict[int, str] = {}
    for module in setup.model.modules:
        if module.layer is not None and module.layer not in names:
            parts = module.name.split(".")
            number = number_place(parts)
            if number is None:
                raise ModelError(f"The layer of {module.name} has no number in its name.")
            names[module.layer] = ".".join(parts[: number + 1])
    return tuple(base.get_submodule(names[index]) for index in sorted(names))
