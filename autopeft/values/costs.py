"""What one run costs, as one flat value: what `autopeft estimate` prints and `autopeft.estimate` returns."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RunCost:
    """Peak memory and step time of a run on one device.

    Attributes:
        peak_allocated_bytes: what ``torch.cuda.max_memory_allocated`` counts.
        peak_reserved_bytes: what ``torch.cuda.max_memory_reserved`` counts.
        context_bytes: what the process holds beside it: the driver's context, collective libraries.
        total_bytes: reserved memory plus context: what the card must have free.
        headroom_bytes: what is left of the memory that may be used; negative where it is exceeded.
        step_seconds: of one optimizer step; None where the device's speed is not known.
        step_seconds_low: lower end of the interval that the time is expected in.
        step_seconds_high: its upper end.
        tokens_per_second: of all devices, padding included.
        breakdown: what is allocated at the peak: ``weights``, ``adapter``, ``gradients``, ``optimizer_state``,
            ``activations``, ``logits_and_loss``, ``temporaries``; their sum is ``peak_allocated_bytes``.
        peak_phase: ``load``, ``forward``, ``backward``, ``optimizer step`` or ``evaluation``; empty where the
            estimate counts everything as alive at once.
        maximum: the largest batch size, sequence length or rank that fits, where that was asked for; None where
            nothing fits.
    """

    peak_allocated_bytes: int
    peak_reserved_bytes: int
    context_bytes: int
    total_bytes: int
    fits: bool
    headroom_bytes: int
    trainable_parameters: int
    total_parameters: int
    step_seconds: float | None
    step_seconds_low: float | None
    step_seconds_high: float | None
    tokens_per_second: float | None
    breakdown: Mapping[str, int]
    peak_phase: str
    notes: tuple[str, ...]
    maximum: int | None = None
