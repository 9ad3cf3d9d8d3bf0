"""The seam: one function from a setup to its expected cost."""

from dataclasses import replace

from autopeft.estimation.activations import activation_bytes
from autopeft.estimation.memory import memory_estimate
from autopeft.estimation.speed import step_seconds
from autopeft.methods import Method, get_method
from autopeft.values.candidates import Estimate, Setup
from autopeft.values.profiles import HardwareProfile


def estimate(setup: Setup, *, tokens_per_row: int, hardware: HardwareProfile) -> Estimate:
    """Returns the peak memory and the seconds per optimizer step that a setup is expected to cost.

    A formula over the model's modules: exact for weights and for what is trained, a ranking aid for the
    rest. Parameters are counted once; the fresh task head counts as trained.

    Args:
        setup: model, task and candidate.
        tokens_per_row: length of the rows of the longest batch, special tokens included; what a method
            itself puts into the sequence comes on top.
        hardware: the device planned for, for its context, its allocator and its throughput.

    Raises:
        InvalidValueError: the candidate names a method, a quantization or an optimizer that is not known.
    """
    method = get_method(setup.candidate.method)
    adapter = method.trainable(setup)
    tokens = planned_tokens(setup, tokens_per_row)
    activations = activation_bytes(setup, method, tokens, adapter)
    trained = adapter + setup.model.head_parameters
    return Estimate(
        memory=memory_estimate(setup, method, adapter, activations, hardware.device),
        step_seconds=step_seconds(setup, method, tokens, hardware.device),
        trainable_parameters=trained,
        total_parameters=setup.model.parameters + (0 if method.capabilities.trains_base else adapter),
    )


def planned_tokens(setup: Setup, tokens_per_row: int) -> int:
    """Returns the sequence length the layers see: the row's tokens and those a method puts before them.

    Vectors that stand in every layer are keys and values only, so they lengthen no layer's sequence.
    """
    method = get_method(setup.candidate.method)
    if not method.capabilities.uses_context or grows_with_depth(method, setup):
        return tokens_per_row
    return tokens_per_row + int(setup.candidate.parameters.get("virtual_tokens", 0))


def grows_with_depth(method: Method, setup: Setup) -> bool:
    """Whether the method trains less on the same model without its last layer: it reaches every layer."""
    model = setup.model
    kept = tuple(module for module in model.modules if module.layer != model.layers - 1)
    shallower = replace(setup, model=replace(model, layers=model.layers - 1, modules=kept))
    return method.trainable(setup) > method.trainable(shallower)
