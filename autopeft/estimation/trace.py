"""A traced training step as values: what lives when, in which phase, and what the step computes.

Times are positions in one sequence of events; every block's beginning and every block's end is an event of its own,
so that sorting by time gives the order in which memory was asked for and given back.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal[
    "weights", "adapter", "gradients", "optimizer_state", "activations", "logits_and_loss", "temporaries"
]  # fmt: skip
KINDS: tuple[Kind, ...] = (
    "weights", "adapter", "gradients", "optimizer_state", "activations", "logits_and_loss", "temporaries",
)  # fmt: skip

Pool = Literal["device", "host"]

PhaseName = Literal["load", "forward", "backward", "optimizer_step", "evaluation"]

ROUNDING = 512
"""Bytes that torch's CUDA caching allocator rounds requests up to (kMinBlockSize in c10/cuda/CUDACachingAllocator)."""


class Block(NamedTuple):
    """One storage, from the event that allocates it to the event that frees it.

    Attributes:
        bytes: as requested, not rounded.
        begin: event at which it is allocated.
        end: event at which it is freed; None where it lives to the end.
        pool: ``host`` for paged optimizer state, which lies outside torch's pool.
    """

    bytes: int
    kind: Kind
    begin: int
    end: int | None
    pool: Pool = "device"


class Phase(NamedTuple):
    """A stretch of the trace; it lasts until the next one starts."""

    name: PhaseName
    start: int


@dataclass(frozen=True, slots=True)
class Operation:
    """Operations alike in everything, counted.

    Attributes:
        name: aten's, such as ``mm``; names of bitsandbytes' kernels for its layers.
        flops: floating-point operations of one of them.
        bytes_moved: bytes that one of them reads and writes.
        dtype: torch's name of the dtype it computes in, such as ``bfloat16``.
        phase: where it runs.
        count: how many of them one optimizer step of one micro-batch has.
    """

    name: str
    flops: float
    bytes_moved: float
    dtype: str
    phase: PhaseName
    count: int


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a run does to memory from loading to evaluation, and what its steady step computes.

    Attributes:
        blocks: in the order of their beginning.
        phases: in the order of their start; the first is ``load``, and every phase of both steps is one.
        operations: of the second step, of one micro-batch; ``optimizer_step``'s are once per step.
        trainable_parameters: task head included.
        total_parameters: shared ones counted once.
        notes: what a reader has to know, such as that an architecture could not be traced.
    """

    blocks: tuple[Block, ...]
    phases: tuple[Phase, ...]
    operations: tuple[Operation, ...]
    trainable_parameters: int
    total_parameters: int
    notes: tuple[str, ...] = ()


class Event(NamedTuple):
    """One call of the allocator.

    Attributes:
        time: the event's position.
        block: index in the trace's blocks.
        allocates: whether it asks for the block; otherwise it gives it back.
    """

    time: int
    block: int
    allocates: bool


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The moment at which most is allocated on the device.

    Attributes:
        bytes: with every block rounded up to `ROUNDING`.
        time: the event after which that much is allocated.
        phase: where it happens.
        breakdown: rounded bytes alive then, of every kind; their sum is ``bytes``.
    """

    bytes: int
    time: int
    phase: PhaseName
    breakdown: Mapping[str, int]


def rounded(size: int) -> int:
    """Returns what the caching allocator hands out for a request of so many bytes."""
    return -(-size // ROUNDING) * ROUNDING


def events(trace: Trace) -> tuple[Event, ...]:
    """Returns every allocation and release on the device in order; blocks of the host are left out.

    At equal times releases come first: memory given back there can be handed out again.
    """
    return tuple(sorted(_events(trace), key=lambda event: (event.time, event.allocates)))


def _events(trace: Trace) -> Iterator[Event]:
    for index, block in enumerate(trace.blocks):
        if block.pool == "device":
            yield Event(block.begin, index, allocates=True)
            if block.end is not None:
                yield Event(block.end, index, allocates=False)


def phase_at(trace: Trace, time: int) -> PhaseName:
    """Returns the phase that an event belongs to."""
    name = trace.phases[0].name
    for phase in trace.phases:
        if phase.start > time:
            break
        name = phase.name
    return name


def peak(trace: Trace) -> Peak:
    """Returns the peak of allocated device memory: what ``torch.cuda.max_memory_allocated`` counts."""
    steps: list[tuple[int, int]] = []
    for size, _, begin, end, pool in trace.blocks:
        if pool == "device":
            handed_out = -(-size // ROUNDING) * ROUNDING
            steps.append((begin, handed_out))
            if end is not None:
                steps.append((end, -handed_out))
    steps.sort()  # at equal times releases come first, as in `events`
    alive = most = 0
    when = trace.phases[0].start
    for time, size in steps:
        alive += size
        if alive > most:
            most, when = alive, time
    return Peak(bytes=most, time=when, phase=phase_at(trace, when), breakdown=alive_at(trace, when))


def alive_at(trace: Trace, time: int) -> dict[str, int]:
    """Returns the rounded bytes of every kind that are allocated on the device after an event."""
    found: dict[str, int] = dict.fromkeys(KINDS, 0)
    for block in trace.blocks:
        if block.pool == "device" and block.begin <= time and (block.end is None or block.end > time):
            found[block.kind] += rounded(block.bytes)
    return found
