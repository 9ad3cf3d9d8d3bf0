"""From a traced step to the memory that a device must have: allocated, reserved and the context."""

from autopeft.estimation.allocator import AllocatorSettings
from autopeft.estimation.context import ALLOCATOR_KINDS, context_bytes, with_workspaces
from autopeft.estimation.replay import replay
from autopeft.estimation.trace import Trace, alive_at, peak, phase_at
from autopeft.values.candidates import MemoryEstimate
from autopeft.values.profiles import Device


def trace_memory(trace: Trace, device: Device, settings: AllocatorSettings | None = None) -> MemoryEstimate:
    """Returns the peak memory of a traced run on a device.

    On a device with torch's caching allocator, allocated and reserved are what a replay through it counts; what
    it hands out beyond the blocks asked for (workspaces, remainders too small to split off) counts among the
    temporaries. Elsewhere memory is given back as it is freed, so that reserved is what is allocated.

    Args:
        trace: of the run, without workspaces.
        device: planned for.
        settings: the allocator's; torch's defaults where None.
    """
    context = context_bytes(device)
    if device.kind not in ALLOCATOR_KINDS:
        top = peak(trace)
        return MemoryEstimate(
            peak_allocated_bytes=top.bytes, peak_reserved_bytes=top.bytes, context_bytes=context,
            breakdown=top.breakdown, peak_phase=top.phase,
        )  # fmt: skip
    full = with_workspaces(trace, device)
    counted = replay(full, settings or AllocatorSettings())
    breakdown = alive_at(full, counted.peak_time)
    breakdown["temporaries"] += counted.peak_allocated_bytes - sum(breakdown.values())
    return MemoryEstimate(
        peak_allocated_bytes=counted.peak_allocated_bytes, peak_reserved_bytes=counted.peak_reserved_bytes,
        context_bytes=context, breakdown=breakdown, peak_phase=phase_at(full, counted.peak_time),
    )  # fmt: skip


def fits_after_release(trace: Trace, device: Device, limit_bytes: int) -> bool:
    """Whether a run whose reserved memory would exceed a limit fits when torch gives cached segments back.

    torch does so when the driver has no more memory; each time costs a synchronization.

    Args:
        trace: of the run, without workspaces.
        device: planned for, one with torch's caching allocator.
        limit_bytes: what the card has for this process, its context included.
    """
    room = limit_bytes - context_bytes(device)
    if room <= 0:
        return False
    return not replay(with_workspaces(trace, device), AllocatorSettings(limit_bytes=room)).out_of_memory
