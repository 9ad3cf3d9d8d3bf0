"""The free blocks of one pool of a caching allocator: found by size for best fit, by address to coalesce."""

from bisect import bisect_left, insort

_ADDRESS_BITS = 64
_ADDRESSES = (1 << _ADDRESS_BITS) - 1
# A run that does not fit is weighed all the same, whatever it asks for, and addresses count on from segment to segment.

SEGMENT_GAP = 512
"""Bytes left between segments, so that blocks of two segments never touch and so never merge."""


class FreeBlocks:
    """Free blocks in order of size, then of address.

    A block's order is one number, its size above its address: numbers compare faster than pairs.
    """

    __slots__ = ("_ends", "_order", "_starts")

    def __init__(self) -> None:
        self._order: list[int] = []
        self._starts: dict[int, int] = {}
        self._ends: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._order)

    def items(self) -> list[tuple[int, int]]:
        """Returns start and size of every free block, by size, then by address."""
        return [(key & _ADDRESSES, key >> _ADDRESS_BITS) for key in self._order]

    def find(self, size: int) -> int:
        """Returns the position of the smallest block that holds so many bytes; ``len`` where there is none."""
        return bisect_left(self._order, size << _ADDRESS_BITS)

    def at(self, position: int) -> tuple[int, int]:
        """Returns start and size of the block at a position."""
        key = self._order[position]
        return key & _ADDRESSES, key >> _ADDRESS_BITS

    def take(self, position: int) -> tuple[int, int]:
        """Removes the block at a position and returns its start and size."""
        key = self._order.pop(position)
        start, size = key & _ADDRESSES, key >> _ADDRESS_BITS
        del self._starts[start], self._ends[start + size]
        return start, size

    def add(self, start: int, size: int) -> tuple[int, int]:
        """Adds a block, merged with the free blocks that touch it; returns the merged block's start and size."""
        end = start + size
        before = self._ends.pop(start, None)
        if before is not None:
            self._drop(before, self._starts.pop(before))
            start = before
        after = self._starts.pop(end, None)
        if after is not None:
            del self._ends[end + after]
            self._drop(end, after)
            end += after
        size = end - start
        self._starts[start] = size
        self._ends[end] = start
        insort(self._order, size << _ADDRESS_BITS | start)
        return start, size

    def ending_at(self, end: int) -> int | None:
        """Returns the start of the free block that ends there, None where there is none."""
        return self._ends.get(end)

    def remove(self, start: int, size: int) -> None:
        """Removes a block that is known to be free."""
        self.take(bisect_left(self._order, size << _ADDRESS_BITS | start))

    def _drop(self, start: int, size: int) -> None:
        del self._order[bisect_left(self._order, size << _ADDRESS_BITS | start)]
