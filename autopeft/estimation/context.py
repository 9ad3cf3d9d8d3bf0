"""What a process holds on a device beside its tensors: the driver's context, and the libraries' workspaces."""

from dataclasses import replace

from autopeft.estimation.trace import Block, Trace
from autopeft.values.profiles import Device

MIB = 1 << 20

ALLOCATOR_KINDS = frozenset({"cuda", "rocm"})
"""Kinds of device whose memory torch's caching allocator keeps."""

_CONTEXT_BYTES = {7: 450 * MIB, 8: 550 * MIB, 9: 650 * MIB, 10: 700 * MIB, 12: 700 * MIB}
"""Context by major compute capability: an assumption.

A bare context of torch 2.10 with CUDA 13.0 takes 426 MiB on an RTX 6000 Ada, 8.9 (unslothai/unsloth-zoo, pull request
1053); the kernels that training loads one by one come on top, and newer architectures have more of them.
"""
_OTHER_CONTEXT_BYTES = {"cuda": 600 * MIB, "rocm": 600 * MIB, "mps": 256 * MIB, "accelerator": 600 * MIB, "cpu": 0}
"""Context of devices without a known compute capability: an assumption too."""

_WORKSPACE_BYTES = 2 * 4096 * 1024 + 8 * 16 * 1024
_LARGE_WORKSPACE_BYTES = 32 * MIB
_LARGE_WORKSPACE_MAJORS = frozenset({9, 10, 12})
_CDNA3_WORKSPACE_BYTES = 128 * MIB
_CDNA3 = "MI3"
"""How the names of AMD's cards of architecture gfx94x and gfx95x go on after the series' name."""


def context_bytes(device: Device) -> int:
    """Returns what a process holds beside its tensors.

    The device's own figure, the catalogue's, wins over the table by compute capability.
    """
    if device.context_bytes is not None:
        return device.context_bytes
    major = capability_major(device)
    assumed = _CONTEXT_BYTES.get(major, 0) if major is not None else 0
    return assumed or _OTHER_CONTEXT_BYTES[device.kind]


def capability_major(device: Device) -> int | None:
    """Returns the major compute capability, None for anything but NVIDIA."""
    return None if device.compute_capability is None else int(device.compute_capability.split(".")[0])


def workspace_bytes(device: Device) -> int:
    """Returns the workspace that torch allocates for each cuBLAS handle and stream; 0 without such a library.

    ``:4096:2:16:8``, that is 8.125 MiB, and 32 MiB on Hopper and Blackwell; with ROCm 32 MiB, and 128 MiB on gfx94x
    and gfx95x (``parseChosenWorkspaceSize`` in aten/src/ATen/cuda/CublasHandlePool.cpp). cuBLASLt shares it by
    default; hipBLASLt's own 76 MiB, where it is used, are left out.
    """
    if device.kind == "rocm":
        return _CDNA3_WORKSPACE_BYTES if _CDNA3 in device.name else _LARGE_WORKSPACE_BYTES
    if device.kind != "cuda":
        return 0
    return _LARGE_WORKSPACE_BYTES if capability_major(device) in _LARGE_WORKSPACE_MAJORS else _WORKSPACE_BYTES


def with_workspaces(trace: Trace, device: Device) -> Trace:
    """Returns the trace with a workspace allocated at the first forward and one at the first backward pass.

    Handles belong to threads (``DeviceThreadHandlePool``): the backward pass runs on autograd's own thread, so it
    has a second one. Both stay for good.
    """
    size = workspace_bytes(device)
    if not size:
        return trace
    starts = [
        next((phase.start for phase in trace.phases if phase.name == name), None) for name in ("forward", "backward")
    ]
    added = [Block(size, "temporaries", start, None) for start in starts if start is not None]
    return replace(trace, blocks=(*trace.blocks, *added))
