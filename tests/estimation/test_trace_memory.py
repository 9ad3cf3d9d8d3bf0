"""From a trace to what the device must have: workspaces, reserved memory, the context."""

from dataclasses import replace

import pytest

from autopeft.estimation.context import context_bytes, with_workspaces, workspace_bytes
from autopeft.estimation.trace import Block, Phase, Trace
from autopeft.estimation.trace_memory import fits_after_release, trace_memory
from autopeft.profiling.catalogue import card_device, load_card
from autopeft.values.profiles import Device

MIB = 1 << 20
WORKSPACE = 8 * MIB + MIB // 8


def card(name="rtx-3090", **changes):
    return replace(card_device(load_card(name)), **changes)


PHASES = (Phase("load", 0), Phase("forward", 2), Phase("backward", 4))


def traced(*blocks, phases=PHASES):
    return Trace(blocks=blocks, phases=phases, operations=(), trainable_parameters=1, total_parameters=1)


TRACE = traced(
    Block(100 * MIB, "weights", 0, None),
    Block(300 * MIB, "temporaries", 1, 2),
    Block(50 * MIB, "activations", 3, 6),
    Block(40 * MIB, "gradients", 5, None),
)
CPU = Device(index=0, name="cpu", kind="cpu", total_memory_bytes=1, free_memory_bytes=1)


def test_each_pass_has_a_workspace_of_its_own():
    """Forward and backward run on two threads, each with a cuBLAS workspace that stays."""
    added = with_workspaces(TRACE, card()).blocks[len(TRACE.blocks) :]
    assert [(block.bytes, block.begin, block.end) for block in added] == [(WORKSPACE, 2, None), (WORKSPACE, 4, None)]
    assert with_workspaces(TRACE, CPU) == TRACE


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("v100-16gb", WORKSPACE),
        ("l4", WORKSPACE),
        ("h100-sxm", 32 * MIB),
        ("rtx-5090", 32 * MIB),
        ("mi210", 32 * MIB),
        ("mi300x", 128 * MIB),
        ("apple-m1", 0),
    ],
)
def test_workspaces_are_torchs_own(name, size):
    """Hopper and Blackwell take 32 MiB where older cards take 8.125; AMD's take 32, the newest 128."""
    assert workspace_bytes(card(name)) == size


def test_the_breakdown_adds_up_to_what_is_allocated():
    """Nothing at the peak is left without a name, and reserved is never less than allocated."""
    for device in (card(), card("h200"), CPU):
        found = trace_memory(TRACE, device)
        assert sum(found.breakdown.values()) == found.peak_allocated_bytes <= found.peak_reserved_bytes


def test_what_is_too_small_to_split_off_is_a_temporary():
    """A weight of 11.5 MiB takes a segment of 12: the half MiB is allocated, and no weight."""
    found = trace_memory(traced(Block(11 * MIB + MIB // 2, "weights", 0, None), phases=PHASES[:1]), card())
    assert found.peak_allocated_bytes == 12 * MIB
    assert found.breakdown["weights"] == 11 * MIB + MIB // 2
    assert found.breakdown["temporaries"] == MIB // 2


def test_a_cpu_gives_memory_back():
    """Without a caching allocator reserved is what is allocated, and there is no context."""
    found = trace_memory(TRACE, CPU)
    assert found.peak_allocated_bytes == found.peak_reserved_bytes == 400 * MIB
    assert (found.context_bytes, found.peak_phase) == (0, "load")


def test_cached_segments_can_be_given_back():
    """A run that holds 720 MiB where 420 are used fits a card of 450 at the cost of a release; not one of 400."""
    trace = traced(
        Block(100 * MIB, "weights", 0, None),
        Block(300 * MIB, "temporaries", 1, 2),
        Block(320 * MIB, "temporaries", 3, 4),
        phases=PHASES[:1],
    )
    device = card(context_bytes=0)
    assert trace_memory(trace, device).peak_reserved_bytes == 720 * MIB
    assert fits_after_release(trace, device, 450 * MIB)
    assert not fits_after_release(trace, device, 400 * MIB)
    assert not fits_after_release(trace, card(context_bytes=100 * MIB), 450 * MIB)


def test_the_devices_own_context_wins():
    """A catalogued figure is used; without one what cards of its capability are assumed to take."""
    assert context_bytes(card(context_bytes=123)) == 123
    assert context_bytes(card(context_bytes=None)) > 400 * MIB
    assert context_bytes(replace(CPU, kind="rocm")) > 400 * MIB
    assert context_bytes(CPU) == 0
