"""How weights come to the device: in the order of the modules, quantized one by one, then prepared for training.

Imported by functions only: it needs torch at import.
"""

from collections.abc import Iterator
from typing import Any

import torch

from autopeft.estimation.tracing.build import Network
from autopeft.estimation.tracing.recorder import Recorder
from autopeft.values.candidates import Setup


def load(network: Network, recorder: Recorder) -> None:
    """Records the loading of the base and the attaching of the method.

    A quantized weight lies on the device in its own dtype while it is packed. What stays unquantized is loaded in
    the model's dtype, and copied to float32 by peft's preparation afterwards.
    """
    recorder.phase("load")
    setup = network.setup
    layers = {id(t): index for index, layer in enumerate(network.layers) for t in _tensors_of(layer)}
    quantized = setup.candidate.quantization != "none"
    held: list[tuple[Any, Any, int | None]] = []
    for module in network.base.modules():
        for tensor in _owned(module):
            layer = layers.get(id(tensor))
            if id(tensor) not in network.own:
                continue
            if quantized and tensor.dtype == torch.float32 and isinstance(tensor, torch.nn.Parameter):
                before = _like(tensor.shape, setup, recorder, layer)
                held.append((before, tensor, layer))
                del before
                continue
            if not tensor.is_floating_point() and quantized and isinstance(tensor, torch.nn.Parameter):
                _like((module.out_features, module.in_features), setup, recorder, layer)
            recorder.own(tensor, "weights", layer)
            for scale in _scales(module):
                recorder.own(scale, "weights", layer)
    held.reverse()
    while held:
        _, tensor, layer = held[-1]
        recorder.own(tensor, "weights", layer)
        with recorder.within(layer):
            del held[-1]
    _attach(network, recorder, layers)


def _attach(network: Network, recorder: Recorder, layers: dict[int, int]) -> None:
    for tensor in (*network.model.parameters(), *network.model.buffers()):
        recorder.own(tensor, "adapter", layers.get(id(tensor)))
    inside = {id(module): index for index, layer in enumerate(network.layers) for module in layer.modules()}
    for module in network.model.modules():
        for tensor in held_aside(module):
            recorder.own(tensor, "adapter", inside.get(id(module)))


def held_aside(module: Any) -> Iterator[torch.Tensor]:
    """Yields what an attached module holds in dictionaries of its own, such as the places of a sparse update."""
    for name, value in vars(module).items():
        if type(value) is dict and not name.startswith("_"):
            yield from (tensor for tensor in value.values() if isinstance(tensor, torch.Tensor))


def _like(shape: Any, setup: Setup, recorder: Recorder, layer: int | None) -> torch.Tensor:
    """Returns a tensor in the model's dtype, as a weight lies on the device before it is packed or cast."""
    with recorder.within(layer), recorder.storing("weights"):
        return torch.empty(shape, dtype=getattr(torch, setup.candidate.dtype), device="meta")


def _owned(module: Any) -> Iterator[torch.Tensor]:
    yield from (p for p in module._parameters.values() if p is not None)
    yield from (b for b in module._buffers.values() if b is not None)


def _scales(module: Any) -> tuple[torch.Tensor, ...]:
    if not hasattr(module, "scales") and not hasattr(module, "row_scales"):
        return ()
    from autopeft.estimation.tracing.quantized import scales_of

    return scales_of(module)


def _tensors_of(layer: Any) -> Iterator[torch.Tensor]:
    yield from layer.parameters()
    yield from layer.buffers()
