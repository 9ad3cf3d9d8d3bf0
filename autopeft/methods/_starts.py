"""What the initialisations of low-rank adaptation share: LoRA's own modules whose factors start elsewhere.

The modules, their training and merging are peft's. The factors are computed here: peft's own initialisations of this
kind replace the base's tensors instead of changing them in place, take no transposed weights (OLoRA) or one row at a
time (CorDA), and their checkpoints fit only a base that is decomposed again, or never again where data decided.

Where the start takes a product out of the base, what is saved is the plain LoRA of twice the rank that the unchanged
base needs: the trained factors beside the negative of the first ones. Any server that takes LoRA takes it, and the
start can be read back out of it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from autopeft.errors import ModelError
from autopeft.files import read_json, to_json, write_text
from autopeft.methods import _lora, _peft
from autopeft.values.candidates import Setup

Factors = tuple[Any, Any]
"""A of shape (rank, in) and B of shape (out, rank), float32."""

CAPABILITIES = replace(_lora.CAPABILITIES, quantized_base=False, changes_base=True, moves_base=True)
"""Of a start that takes its product out of the base; a quantized base would lose the residual to its codes."""

_START = "autopeft_start"
WEIGHTS_FILE = "adapter_model.safetensors"


def layers(attached: Any) -> Iterator[tuple[str, Any]]:
    """Yields the name and the LoRA layer of every targeted module."""
    from peft.tuners.lora import LoraLayer

    return ((name, module) for name, module in attached.named_modules() if isinstance(module, LoraLayer))


def rank_of(layer: Any) -> int:
    """Returns a LoRA layer's rank."""
    return int(layer.lora_A[_peft.ADAPTER].weight.shape[0])


def scaling_of(layer: Any) -> float:
    """Returns the factor on a LoRA layer's product."""
    return float(layer.scaling[_peft.ADAPTER])


def weight_of(layer: Any) -> Any:
    """Returns the frozen weight beside a LoRA layer in float32, of shape (out, in) however it is stored."""
    weight = layer.get_base_layer().weight.detach().float()
    return weight.T if layer.fan_in_fan_out else weight


def principal(u: Any, values: Any, vh: Any, rank: int, scaling: float) -> Factors:
    """Returns the factors whose scaled product is the sum of the first ``rank`` singular triplets."""
    root = (values[:rank] / scaling).sqrt()
    return root[:, None] * vh[:rank], u[:, :rank] * root


def begin(
    attached: Any,
    seen: Iterable[tuple[str, Any]],
    factors: Callable[[Any, Any], Factors],
    write: Callable[[Any, Factors], None],
) -> None:
    """Starts LoRA layers from what some batches say of each.

    All factors are found before the first are written, so that each layer is seen with the others as they were.

    Args:
        attached: the model with LoRA's layers.
        seen: a matrix by the name of its layer; a layer that is not among them starts as LoRA does.
        factors: (layer, matrix) → the factors that it starts with.
        write: `put`, or `move` where their product is taken out of the weight.
    """
    own = dict(layers(attached))
    for name, found in {name: factors(own[name], value) for name, value in seen}.items():
        write(own[name], found)


def put(layer: Any, factors: Factors) -> None:
    """Writes the factors into a LoRA layer."""
    import torch

    with torch.no_grad():
        layer.lora_A[_peft.ADAPTER].weight.copy_(factors[0])
        layer.lora_B[_peft.ADAPTER].weight.copy_(factors[1])


def move(layer: Any, factors: Factors) -> None:
    """Writes the factors into a LoRA layer and takes their scaled product out of the frozen weight, in place.

    Raises:
        ModelError: it has been done already: the weight would lack two products, of which only one is remembered.
    """
    import torch

    if hasattr(layer, _START):
        raise ModelError(
            "The layer was started already: another start would take a second product out of its weight.\n"
            "Start a method once after attaching it, and not after loading what it saved."
        )
    put(layer, factors)
    first, second = (value.detach().float().cpu().clone() for value in factors)
    product = scaling_of(layer) * (factors[1] @ factors[0])
    weight = layer.get_base_layer().weight
    with torch.no_grad():
        weight.sub_((product.T if layer.fan_in_fan_out else product).to(weight.dtype))
    setattr(layer, _START, (first, second))


def without_values(attached: Any) -> bool:
    """Whether the model is one of shapes alone, on torch's meta device, which has nothing to start from."""
    return any(parameter.is_meta for parameter in attached.parameters())


def attach(model: Any, setup: Setup, factors: Callable[[Any, int, float], Factors]) -> Any:
    """Returns the model with LoRA attached whose product at the start is taken out of the base.

    Args:
        model: the task model.
        setup: a legal one.
        factors: (weight, rank, scaling) → factors.
    """
    attached = _peft.attach(model, _lora.config(setup))
    if without_values(attached):
        return attached
    for _, layer in layers(attached):
        move(layer, factors(weight_of(layer), rank_of(layer), scaling_of(layer)))
    return attached


def save(attached: Any, folder: Path) -> None:
    """Writes the LoRA of twice the rank that the unchanged base needs, in peft's format."""
    from safetensors.torch import load_file, save_file

    _peft.save(attached, folder)
    starts = {name: getattr(layer, _START, None) for name, layer in layers(attached)}
    if not any(starts.values()):
        return
    stored = load_file(folder / WEIGHTS_FILE)
    for name, start in starts.items():
        _join(stored, name, start)
    partial = folder / f".{WEIGHTS_FILE}"
    save_file(stored, partial)
    partial.replace(folder / WEIGHTS_FILE)
    path = folder / _peft.CONFIG_FILE
    config = read_json(path)
    write_text(path, to_json({**config, "r": 2 * config["r"], "lora_alpha": 2 * config["lora_alpha"]}))


def _keys(name: str) -> tuple[str, str]:
    return f"{name}.lora_A.weight", f"{name}.lora_B.weight"


def _join(stored: dict[str, Any], name: str, start: Factors | None) -> None:
    """Lays a start beside the stored factors; zeros where the layer has none, as the file has one rank for all."""
    import torch

    first, second = _keys(name)
    start = start or (torch.zeros_like(stored[first]), torch.zeros_like(stored[second]))
    stored[first] = torch.cat([stored[first], start[0].to(stored[first].dtype)])
    stored[second] = torch.cat([stored[second], -start[1].to(stored[second].dtype)], dim=1).contiguous()


def load(model: Any, setup: Setup, folder: Path) -> Any:
    """Returns the model with the saved start taken out of its base and the saved factors in its LoRA layers.

    Raises:
        ModelError: the file is missing, or its factors are not of the rank of the setup.
    """
    from safetensors.torch import load_file

    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise ModelError(f"{path} does not exist: the folder holds no saved adapter.")
    attached, stored = _peft.attach(model, _lora.config(setup)), load_file(path)
    for name, layer in layers(attached):
        _split(stored, name, layer, path)
    return _peft.load_values(attached, stored, path)


def _split(stored: dict[str, Any], name: str, layer: Any, path: Path) -> None:
    first, second = _keys(name)
    if first not in stored or second not in stored:
        raise ModelError(f"{path} lacks {first}, which the attached method trains.")
    rank, found = rank_of(layer), int(stored[first].shape[0])
    if found == 2 * rank:
        device = layer.get_base_layer().weight.device
        move(layer, (stored[first][rank:].float().to(device), -stored[second][:, rank:].float().to(device)))
        stored[first], stored[second] = stored[first][:rank], stored[second][:, :rank]
    elif found != rank:
        raise ModelError(f"{name} of {path} has the rank {found}; the setup's is {rank}.")
