"""A model of PyTorch's CUDA caching allocator.

The rules are those of ``c10/cuda/CUDACachingAllocator.cpp`` with the constants of ``c10/core/AllocatorConfig.h`` as
they stand in torch 2.13, on one stream and without a memory fraction:

- a request is rounded up to 512 bytes; up to 1 MiB it is served by the small pool, above by the large one;
- the smallest free block of the pool that holds it is taken, the lowest address among equals, and what is left of
  it stays free where that is at least 512 bytes (small pool) or more than 1 MiB (large pool); less than that stays
  with the block and counts as allocated;
- where no free block does, a segment is asked of the driver: 2 MiB in the small pool, 20 MiB for a request below
  10 MiB, else the request rounded up to 2 MiB;
- a freed block merges with its free neighbours in the segment;
- segments are kept; only when the driver has no more are the wholly free ones given back;
- with ``expandable_segments`` each pool is one segment that grows by pages of 2 MiB (small) and 20 MiB (large), and
  every remainder of at least 512 bytes stays free; the block that can still grow is taken last;
- with ``max_split_size_mb`` blocks of that size and above are never split, serve no smaller request, and serve a
  larger one only where they are less than 20 MiB above it.

What is not modelled: several streams (communication of distributed training), garbage collection by threshold,
CUDA graphs' private pools, and ``roundup_power2_divisions``.
"""

from dataclasses import dataclass

from autopeft.errors import invalid
from autopeft.estimation.free_blocks import SEGMENT_GAP, FreeBlocks
from autopeft.estimation.trace import ROUNDING, rounded

MIB = 1 << 20
SMALL_REQUEST = MIB
SMALL_SEGMENT = 2 * MIB
LARGE_SEGMENT = 20 * MIB
LARGE_REQUEST = 10 * MIB
"""Requests of at least so many bytes get a segment of their own size."""
SEGMENT_ROUNDING = 2 * MIB
OVERSIZE_SLACK = 20 * MIB
"""How much larger than the request an unsplittable block may be (``max_non_split_rounding_mb``'s default)."""

_SECOND_POOL = 1 << 45
"""Where the large pool's addresses begin: the two pools never meet."""


@dataclass(frozen=True, kw_only=True)
class AllocatorSettings:
    """What ``PYTORCH_ALLOC_CONF`` sets, and the memory there is.

    Attributes:
        expandable_segments: one growing segment per pool.
        max_split_bytes: blocks of this size and above are not split; None for no limit.
        limit_bytes: what the driver can give, beside contexts and other processes; None for no limit.

    Raises:
        InvalidValueError: a split limit below torch's smallest, or settings that are not modelled together.
    """

    expandable_segments: bool = False
    max_split_bytes: int | None = None
    limit_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.max_split_bytes is not None and self.max_split_bytes < LARGE_SEGMENT:
            raise invalid("max_split_bytes", "the allocator", f"at least {LARGE_SEGMENT}", self.max_split_bytes)
        if self.expandable_segments and (self.max_split_bytes is not None or self.limit_bytes is not None):
            raise invalid(
                "expandable_segments", "the allocator", "without max_split_bytes and limit_bytes", self,
                "Their combination is not modelled.",
            )  # fmt: skip


class _Pool:
    """One pool: its free blocks, its segments by start, and where the next segment goes."""

    __slots__ = ("free", "page", "segments", "smallest_split", "top")

    def __init__(self, *, base: int, page: int, smallest_split: int) -> None:
        self.free = FreeBlocks()
        self.segments: dict[int, int] = {}
        self.top = base
        self.page = page
        self.smallest_split = smallest_split


class CachingAllocator:
    """Hands out and takes back addresses as torch's allocator would on an empty device.

    Attributes:
        allocated: bytes of the blocks handed out.
        reserved: bytes of the segments held.
        releases: how often cached segments were given back because the limit was met.
    """

    def __init__(self, settings: AllocatorSettings = AllocatorSettings()) -> None:
        self.settings = settings
        large_split = ROUNDING if settings.expandable_segments else MIB + 1
        self._small = _Pool(base=0, page=SMALL_SEGMENT, smallest_split=ROUNDING)
        self._large = _Pool(base=_SECOND_POOL, page=LARGE_SEGMENT, smallest_split=large_split)
        self._sizes: dict[int, int] = {}
        self.allocated = self.reserved = self.releases = 0

    def malloc(self, requested: int) -> int:
        """Returns the address of a block for so many bytes.

        Raises:
            MemoryError: the limit leaves no room for it.
        """
        size = rounded(requested)
        pool = self._small if size <= SMALL_REQUEST else self._large
        start, available = self._cached(pool, size) or self._fresh(pool, size)
        rest = available - size
        if rest >= pool.smallest_split and (pool is self._small or not self._oversize(size)):
            pool.free.add(start + size, rest)
        else:
            size = available
        self._sizes[start] = size
        self.allocated += size
        return start

    def free(self, address: int) -> None:
        """Takes a block back and merges it with its free neighbours."""
        size = self._sizes.pop(address)
        self.allocated -= size
        (self._large if address >= _SECOND_POOL else self._small).free.add(address, size)

    def segments(self) -> list[tuple[int, int]]:
        """Returns start and size of every segment held, by address."""
        return sorted((*self._small.segments.items(), *self._large.segments.items()))

    def free_blocks(self) -> list[tuple[int, int]]:
        """Returns start and size of every free block, by address."""
        return sorted((*self._small.free.items(), *self._large.free.items()))

    def used_blocks(self) -> list[tuple[int, int]]:
        """Returns start and size of every block handed out, by address."""
        return sorted(self._sizes.items())

    def _oversize(self, size: int) -> bool:
        limit = self.settings.max_split_bytes
        return limit is not None and size >= limit

    def _cached(self, pool: _Pool, size: int) -> tuple[int, int] | None:
        free = pool.free
        position = free.find(size)
        if position == len(free):
            return None
        if self.settings.expandable_segments:
            start, available = free.at(position)
            if start + available == pool.top and position + 1 < len(free):
                position += 1
        elif self.settings.max_split_bytes is not None:
            _, available = free.at(position)
            oversize = self._oversize(size)
            if self._oversize(available) and not oversize:
                return None
            if oversize and available >= size + OVERSIZE_SLACK:
                return None
        return free.take(position)

    def _fresh(self, pool: _Pool, size: int) -> tuple[int, int]:
        if self.settings.expandable_segments:
            return self._grown(pool, size)
        length = segment_bytes(size)
        self._make_room(pool, size, length)
        start = pool.top
        pool.top += length + SEGMENT_GAP
        pool.segments[start] = length
        self.reserved += length
        return start, length

    def _grown(self, pool: _Pool, size: int) -> tuple[int, int]:
        """Extends the pool's one segment, from the free block at its end where there is one."""
        tail = pool.free.ending_at(pool.top)
        missing = size - (0 if tail is None else pool.top - tail)
        length = -(-missing // pool.page) * pool.page
        base = 0 if pool is self._small else _SECOND_POOL
        pool.segments[base] = pool.segments.get(base, 0) + length
        self.reserved += length
        start, available = pool.free.add(pool.top, length)
        pool.top += length
        pool.free.remove(start, available)
        return start, available

    def _make_room(self, pool: _Pool, size: int, length: int) -> None:
        """Gives cached segments back where a segment of this length would exceed the limit."""
        limit = self.settings.limit_bytes
        if limit is None or self.reserved + length <= limit:
            return
        self.releases += 1
        self._release_oversize(pool, size)
        if self.reserved + length > limit:
            for each in (self._large, self._small):
                for start, held in each.free.items():
                    self._release(each, start, held)
        if self.reserved + length > limit:
            raise MemoryError(f"{self.reserved} bytes are held and {length} are asked for; the limit is {limit}.")

    def _release_oversize(self, pool: _Pool, size: int) -> None:
        """Gives back the one unsplittable block that is large enough, else the largest until they are enough."""
        limit = self.settings.max_split_bytes
        if limit is None:
            return
        needed = max(limit, size)
        position, released = pool.free.find(needed), 0
        if position < len(pool.free):
            self._release(pool, *pool.free.at(position))
            return
        for start, held in reversed(pool.free.items()):
            if released >= needed or held < limit:
                return
            released += held
            self._release(pool, start, held)

    def _release(self, pool: _Pool, start: int, held: int) -> None:
        if pool.segments.get(start) == held:
            pool.free.remove(start, held)
            del pool.segments[start]
            self.reserved -= held


def segment_bytes(size: int) -> int:
    """Returns the segment that is asked of the driver for a rounded request."""
    if size <= SMALL_REQUEST:
        return SMALL_SEGMENT
    if size < LARGE_REQUEST:
        return LARGE_SEGMENT
    return -(-size // SEGMENT_ROUNDING) * SEGMENT_ROUNDING
