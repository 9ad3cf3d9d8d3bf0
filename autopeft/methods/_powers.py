"""Sizes of Fastfood's transforms, known without torch."""

_BLOCK = 16
"""Side of the matrix that a transform is made of: few passes over memory, and few multiplications."""


def padded(size: int) -> int:
    """Returns the smallest power of two that is no less than a size."""
    return 1 << (size - 1).bit_length()


def block_side(length: int) -> int:
    """Returns the side of the matrix that transforms of a length are made of."""
    return min(_BLOCK, length)
