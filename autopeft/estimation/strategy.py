"""What training on several devices at once changes about one device's memory."""

from collections import Counter
from dataclasses import replace

from autopeft.estimation.memory import TRAINED_BYTES, UNQUANTIZED_BYTES
from autopeft.methods import get_method
from autopeft.methods._targets import linear_modules
from autopeft.quantization import get_quantization
from autopeft.values.candidates import Estimate, MemoryEstimate, Setup, Team
from autopeft.values.names import DTYPE_BYTES, Strategy
from autopeft.values.profiles import Device

COMMUNICATOR_BYTES = 256 << 20
"""What the collective library holds on each device outside torch's allocator: an assumption, not measured."""

SHARDED = ("weights", "adapter", "gradients", "optimizer_state")
GATHERED_LAYERS = 2
"""Layers gathered at once: the one that computes, and the next one, fetched ahead."""


def on_team(estimate: Estimate, setup: Setup, team: Team, device: Device) -> Estimate:
    """Returns the estimate of one device for one of the devices that train together.

    Processors share one main memory, into which each process loads the whole base before it is divided: nothing less.
    """
    if team.sharded and device.kind == "cpu":
        return estimate
    return on_devices(estimate, setup, team.strategy, team.devices)


def on_devices(estimate: Estimate, setup: Setup, strategy: Strategy, devices: int) -> Estimate:
    """Returns the estimate of one device for one of several by a strategy, each with a memory of its own."""
    if strategy == "ddp":
        return data_parallel(estimate, devices)
    if strategy == "fsdp":
        return fully_sharded(estimate, setup, devices)
    return estimate


def data_parallel(estimate: Estimate, devices: int) -> Estimate:
    """Returns the estimate for one of several devices that hold the whole model each.

    Gradients are averaged in buckets that hold a second copy of every trained gradient, from the first step to the
    last (Li et al., *PyTorch Distributed*, arXiv 2006.15704, section 3.2).
    """
    buckets = estimate.trainable_parameters * TRAINED_BYTES
    note = (
        f"DDP on {_counted(devices)}: {buckets / 2**20:.0f} MiB of gradient buckets and "
        f"{COMMUNICATOR_BYTES >> 20} MiB for the communicator (assumed) are added; communication takes time that "
        "is not counted."
    )
    return replace(estimate, memory=_with(estimate.memory, {}, buckets), notes=(*estimate.notes, note))


def fully_sharded(estimate: Estimate, setup: Setup, devices: int) -> Estimate:
    """Returns the estimate for one of several devices that share parameters, gradients and optimizer state.

    Each holds its share of them; a layer's weights are gathered while it computes and the next layer's ahead of
    it, and what stands outside the layers is gathered from the first to the last of them (Zhao et al., *PyTorch
    FSDP*, arXiv 2304.11277). Gradients of what is gathered are whole until they have been divided. Activations are
    each device's own.
    """
    breakdown = estimate.memory.breakdown
    shares = {kind: -(-breakdown[kind] // devices) for kind in SHARDED}
    gathered = gathered_bytes(setup) if devices > 1 else 0
    note = (
        f"FSDP full shard on {_counted(devices)}: parameters, gradients and optimizer state are divided by {devices}; "
        f"{gathered / 2**20:.0f} MiB of what is gathered ({GATHERED_LAYERS} layers and what stands outside them) and "
        f"{COMMUNICATOR_BYTES >> 20} MiB for the communicator (assumed) are added; communication takes time that is "
        "not counted."
    )
    return replace(estimate, memory=_with(estimate.memory, shares, gathered), notes=(*estimate.notes, note))


def _counted(devices: int) -> str:
    return "1 device" if devices == 1 else f"{devices} devices"


def gathered_bytes(setup: Setup) -> int:
    """Returns the bytes of the weights, and of their gradients, that fully sharded training holds whole at once.

    Weights that train are in float32, and so are their gradients; of a method that trains some of the base's own, as
    many as it trains on average.
    """
    coded = get_quantization(setup.candidate.quantization).bytes_per_weight
    width: float = DTYPE_BYTES[setup.candidate.dtype] if coded is None else UNQUANTIZED_BYTES
    trained = _trained_share(setup)
    width += trained * (TRAINED_BYTES - width + TRAINED_BYTES)
    quantized = set() if coded is None else {module.name for module in linear_modules(setup.model)}
    layers: Counter[int | None] = Counter()
    for module in setup.model.modules:
        each = coded if coded is not None and module.name in quantized else width
        layers[module.layer] += round(module.parameters * each)
    outside = layers.pop(None, 0)
    return outside + sum(sorted(layers.values(), reverse=True)[:GATHERED_LAYERS])


def _trained_share(setup: Setup) -> float:
    """Returns how much of the base's own weights trains."""
    method = get_method(setup.candidate.method)
    return method.trainable(setup) / setup.model.parameters if method.capabilities.trains_base else 0.0


def _with(memory: MemoryEstimate, shares: dict[str, int], added: int) -> MemoryEstimate:
    """Returns the memory with shares in place of wholes and bytes added; what is reserved beyond stays the same."""
    breakdown = {**memory.breakdown, **shares}
    breakdown["temporaries"] += added
    allocated = sum(breakdown.values())
    return replace(
        memory,
        peak_allocated_bytes=allocated,
        peak_reserved_bytes=allocated + memory.peak_reserved_bytes - memory.peak_allocated_bytes,
        context_bytes=memory.context_bytes + COMMUNICATOR_BYTES,
        breakdown=breakdown,
    )
