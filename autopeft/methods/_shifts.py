"""One constant per block of a 4-bit weight: chosen for the codes' entropy, and added back where the layer computes."""

from typing import Any

STEPS = 20
"""Constants tried on either side of a block's median; so are they in the paper's search, at other counts."""
REACH = 0.1
"""How far the search goes from the median, in standard deviations of the block."""

_SHIFTS, _HOOK = "autopeft_shifts", "autopeft_shift_hook"


def blocks_of(weight: Any, size: int) -> Any:
    """Returns a weight as rows of one block each, as bitsandbytes lays them; the last is filled up with its mean."""
    import torch

    flat = weight.reshape(-1)
    lacking = -len(flat) % size
    if lacking:
        flat = torch.cat([flat, flat[-(size - lacking) :].mean().expand(lacking)])
    return flat.view(-1, size)


def entropy(blocks: Any, code: Any) -> Any:
    """Returns the entropy in bits of each block's 4-bit codes, for blocks of weights and the scheme's code book."""
    import torch

    levels, _ = code.to(blocks.device, torch.float32).sort()
    scaled = blocks / blocks.abs().amax(dim=1, keepdim=True).clamp_min(1e-12)
    codes = torch.bucketize(scaled, (levels[1:] + levels[:-1]) / 2)
    counts = torch.zeros(len(blocks), len(levels), device=blocks.device)
    shares = counts.scatter_add_(1, codes, torch.ones_like(scaled)) / blocks.shape[1]
    return -(shares * shares.clamp_min(1e-12).log2()).sum(dim=1)


def most_informative(weight: Any, size: int, code: Any) -> Any:
    """Returns each block's constant, float32: of those tried and zero the one under which its codes tell most."""
    import torch

    blocks = blocks_of(weight, size)
    middle, spread_of = blocks.median(dim=1).values, blocks.std(dim=1)
    best = torch.zeros_like(middle)
    most = entropy(blocks, code)
    for step in range(-STEPS, STEPS + 1):
        tried = middle + REACH * step / STEPS * spread_of
        found = entropy(blocks - tried[:, None], code)
        best, most = torch.where(found > most, tried, best), torch.maximum(found, most)
    return best


def spread(shifts: Any, size: int, shape: tuple[int, ...]) -> Any:
    """Returns the constants as a matrix of the weight's shape."""
    rows, columns = shape
    return shifts.repeat_interleave(size)[: rows * columns].view(rows, columns)


def add(owner: Any, shifts: Any, size: int, shape: tuple[int, ...]) -> None:
    """Lets a linear layer add the constants' share to its output.

    Their matrix is as large as the weight in full: it is made anew for the backward pass, as the codes' is, because
    kept by every layer it would undo what four bits save.
    """
    from torch.nn.functional import linear
    from torch.utils.checkpoint import checkpoint

    owner.register_buffer(_SHIFTS, shifts, persistent=False)

    def share(values: Any) -> Any:
        constants = getattr(owner, _SHIFTS).to(values.device, values.dtype)
        return linear(values, spread(constants, size, shape))

    def shifted(_owner: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        added = checkpoint(share, inputs[0], use_reentrant=False, preserve_rng_state=False)
        return output + added.to(output.dtype)

    setattr(owner, _HOOK, owner.register_forward_hook(shifted))


def remove(owner: Any) -> None:
    """Takes the constants away from a linear layer again, where it has some."""
    if not hasattr(owner, _HOOK):
        return
    getattr(owner, _HOOK).remove()
    delattr(owner, _HOOK)
    delattr(owner, _SHIFTS)
