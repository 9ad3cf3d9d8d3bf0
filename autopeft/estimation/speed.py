"""Seconds per optimizer step by roofline: the slower of arithmetic and memory traffic."""

from autopeft.estimation.activations import first_differentiated_layer, positions_per_pass
from autopeft.estimation.memory import weight_bytes
from autopeft.methods import Method
from autopeft.methods._targets import linear_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import LANGUAGE_TASKS
from autopeft.values.profiles import Device

EFFICIENCY = 0.4
"""Share of the dense matrix rate that training reaches.

Published model-FLOPs utilisation of transformer training lies at 0.3 to 0.6 (Chowdhery et al., arXiv 2204.02311).
"""

FORWARD = 2
"""Floating-point operations per weight and token of a forward pass; each gradient costs as many again."""


def step_seconds(setup: Setup, method: Method, tokens: int, device: Device) -> float | None:
    """Returns the seconds of one optimizer step, or None for a device whose throughput is not known.

    Args:
        setup: what is run; its accumulation counts.
        method: the method of its candidate.
        tokens: sequence length that the layers see.
        device: the device planned for.
    """
    throughput = device.throughput
    if throughput is None or not (rate := throughput.tflops.get(setup.candidate.dtype)):
        return None
    candidate = setup.candidate
    arithmetic = pass_operations(setup, method, tokens) / (rate * 1e12 * EFFICIENCY)
    traffic = 0.0
    if throughput.bandwidth_bytes_per_second:
        passes = 3 if candidate.gradient_checkpointing else 2
        traffic = passes * weight_bytes(setup) / throughput.bandwidth_bytes_per_second
    return max(arithmetic, traffic) * candidate.accumulation


def pass_operations(setup: Setup, method: Method, tokens: int) -> float:
    """Returns the floating-point operations of one micro-batch, forward and backward.

    Two per weight and token forward, two for the gradient of the activations in the layers that a gradient
    reaches, two for the gradient of the weights where all of them train, two more where checkpointing repeats
    the forward pass. Attention adds its two products over all pairs of positions.
    """
    model, candidate = setup.model, setup.candidate
    reached = 1 - first_differentiated_layer(setup, method) / max(model.layers, 1)
    passes = 1 + reached + (1 if method.family == "full" else 0) + (1 if candidate.gradient_checkpointing else 0)
    weights = sum(m.in_features * m.out_features for m in linear_modules(model))
    attention = 2 * model.layers * model.attention_heads * model.head_size * tokens
    head = model.hidden_size * model.vocabulary_size * 2 if setup.task in LANGUAGE_TASKS else 0
    positions = positions_per_pass(setup, tokens)
    return FORWARD * positions * ((weights + attention) * passes + head)
