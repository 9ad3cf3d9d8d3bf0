"""The replay of a trace through the model of torch's allocator: what it would count."""

from dataclasses import dataclass

from autopeft.estimation.allocator import AllocatorSettings, CachingAllocator
from autopeft.estimation.trace import Trace


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What the allocator counted over a trace.

    Attributes:
        peak_allocated_bytes: as ``torch.cuda.max_memory_allocated``: blocks as handed out, unsplit remainders
            included.
        peak_reserved_bytes: as ``torch.cuda.max_memory_reserved``: the segments held.
        peak_time: the trace's time at which most was allocated.
        releases: how often segments had to be given back to stay below the limit; each costs time.
        out_of_memory: whether a request could not be met; the peaks are those before it.
    """

    peak_allocated_bytes: int
    peak_reserved_bytes: int
    peak_time: int = 0
    releases: int = 0
    out_of_memory: bool = False


def replay(trace: Trace, settings: AllocatorSettings = AllocatorSettings()) -> Replay:  # noqa: B008 - frozen
    """Returns what torch's allocator would count over a trace's allocations and releases on the device."""
    allocator = CachingAllocator(settings)
    malloc, free, blocks = allocator.malloc, allocator.free, trace.blocks
    addresses: dict[int, int] = {}
    allocated = reserved = when = 0
    full, count = False, len(blocks)
    for call in _calls(trace):
        index = call % count
        if not call // count & 1:
            free(addresses.pop(index))
            continue
        requested = blocks[index].bytes
        try:
            addresses[index] = malloc(requested)
        except MemoryError:
            full = True
            break
        reserved = max(reserved, allocator.reserved)
        if allocator.allocated > allocated:
            allocated, when = allocator.allocated, call // count >> 1
    return Replay(
        peak_allocated_bytes=allocated, peak_reserved_bytes=reserved, peak_time=when, releases=allocator.releases,
        out_of_memory=full,
    )  # fmt: skip


def _calls(trace: Trace) -> list[int]:
    """Returns the order of `events` as numbers, without tensors that are empty: those have no memory.

    The last bit of a number, divided by the count of blocks, says whether it allocates; the remainder is the
    block. Numbers sort faster than events and are nothing for Python's collector to walk.
    """
    count = len(trace.blocks)
    calls = []
    for index, block in enumerate(trace.blocks):
        if block.pool == "device" and block.bytes:
            calls.append((2 * block.begin + 1) * count + index)
            if block.end is not None:
                calls.append(2 * block.end * count + index)
    calls.sort()
    return calls


def expandable_gain(trace: Trace) -> int:
    """Returns the reserved bytes that ``expandable_segments:True`` would save; negative where it costs some."""
    plain = replay(trace).peak_reserved_bytes
    return plain - replay(trace, AllocatorSettings(expandable_segments=True)).peak_reserved_bytes
