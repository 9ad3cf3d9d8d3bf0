"""The trace as a value: events in order, the peak and what is alive at it."""

from hypothesis import given
from hypothesis import strategies as st

from autopeft.estimation.trace import ROUNDING, Block, Phase, Trace, alive_at, events, peak, rounded

LOAD = (Phase("load", 0),)


def _trace(*blocks, phases=LOAD):
    return Trace(blocks=blocks, phases=phases, operations=(), trainable_parameters=0, total_parameters=0)


def test_blocks_are_rounded_up():
    """Every block counts as what the allocator hands out, a multiple of 512 bytes."""
    assert peak(_trace(Block(1, "weights", 0, None), Block(513, "activations", 1, 2))).bytes == 512 + 1024


def test_the_peak_knows_its_phase_and_its_parts():
    """The peak's phase is the one its event lies in; the parts at the peak add up to it."""
    top = peak(
        _trace(
            Block(1024, "weights", 0, None),
            Block(2048, "activations", 1, 4),
            Block(512, "gradients", 3, None),
            Block(512, "temporaries", 5, 6),
            phases=(Phase("load", 0), Phase("forward", 1), Phase("backward", 3)),
        )
    )
    assert (top.bytes, top.time, top.phase) == (3584, 3, "backward")
    assert top.breakdown["activations"] == 2048
    assert sum(top.breakdown.values()) == top.bytes


def test_the_host_does_not_count():
    """Paged optimizer state lies outside the device's pool: no event and no byte of it."""
    trace = _trace(Block(512, "weights", 0, None), Block(1 << 20, "optimizer_state", 1, None, "host"))
    assert peak(trace).bytes == 512
    assert len(events(trace)) == 1


def test_memory_given_back_is_free_at_once():
    """A block freed at the time another begins makes room for it."""
    assert peak(_trace(Block(512, "temporaries", 0, 1), Block(512, "temporaries", 1, 2))).bytes == 512


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 20), st.integers(1, 20) | st.none()), min_size=1))
def test_the_peak_is_the_most_that_is_ever_alive(lives):
    """No event leaves more allocated than the peak says."""
    blocks = [
        Block(size, "activations", begin, None if lasts is None else begin + lasts) for size, begin, lasts in lives
    ]
    trace = _trace(*blocks)
    top = peak(trace)
    assert top.bytes == max(sum(alive_at(trace, time).values()) for time in range(45))
    assert top.bytes % ROUNDING == 0
    assert sum(rounded(block.bytes) for block in blocks) >= top.bytes
