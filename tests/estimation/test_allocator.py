"""The allocator's model against its rules by hand, against a slow model, and against what must always hold."""

import contextlib
import itertools
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.errors import InvalidValueError
from autopeft.estimation.allocator import MIB, AllocatorSettings, CachingAllocator, segment_bytes
from autopeft.estimation.replay import Replay, expandable_gain, replay
from autopeft.estimation.replay import _calls as calls_of
from autopeft.estimation.trace import Block, Phase, Trace, events

KIB = 1024
PLAIN = AllocatorSettings()
EXPANDABLE = AllocatorSettings(expandable_segments=True)
SPLIT = AllocatorSettings(max_split_bytes=32 * MIB)

SIZES = st.one_of(
    st.integers(1, 4 * KIB),
    st.integers(4 * KIB, 2 * MIB),
    st.integers(MIB, 80 * MIB),
    st.sampled_from([512, MIB, MIB + 1, 10 * MIB - 512, 10 * MIB, 20 * MIB, 32 * MIB, 33 * MIB]),
)
CALLS = st.lists(st.tuples(SIZES, st.booleans(), st.integers(0, 10**6)), min_size=1, max_size=60)
"""Per call: what to ask for, whether one block is given back after it, and which."""


class SlowModel:
    """The documented rules, block by block, over plain lists that are searched from end to end."""

    def __init__(self, settings):
        self.expandable = settings.expandable_segments
        self.split = settings.max_split_bytes or float("inf")
        self.segments = []  # each: whether it is of the small pool, and [size, whether it is used] by address

    def malloc(self, requested):
        size = -(-requested // 512) * 512
        small = size <= MIB
        fitting = [
            (block[0], place, position)
            for place, (pool, blocks) in enumerate(self.segments)
            for position, block in enumerate(blocks)
            if pool == small and not block[1] and block[0] >= size
        ]
        choice = min(fitting, default=None)
        if choice and self.expandable and choice[2] == len(self.segments[choice[1]][1]) - 1:
            choice = min([each for each in fitting if each > choice], default=choice)
        if choice and ((size < self.split <= choice[0]) or (size >= self.split and choice[0] >= size + 20 * MIB)):
            choice = None
        place, position = choice[1:] if choice else self.grow(small, size)
        return self.cut(self.segments[place][1], position, size, small)

    def grow(self, small, size):
        if not self.expandable:
            length = 2 * MIB if small else 20 * MIB if size < 10 * MIB else -(-size // (2 * MIB)) * 2 * MIB
            self.segments.append((small, [[length, False]]))
            return len(self.segments) - 1, 0
        mine = [place for place, (pool, _) in enumerate(self.segments) if pool == small]
        if not mine:
            self.segments.append((small, []))
            mine = [len(self.segments) - 1]
        blocks = self.segments[mine[0]][1]
        tail = blocks.pop()[0] if blocks and not blocks[-1][1] else 0
        page = 2 * MIB if small else 20 * MIB
        blocks.append([tail + -(-(size - tail) // page) * page, False])
        return mine[0], len(blocks) - 1

    def cut(self, blocks, position, size, small):
        block = blocks[position]
        rest = block[0] - size
        enough = rest >= 512 if small or self.expandable else rest > MIB and size < self.split
        if enough:
            blocks.insert(position + 1, [rest, False])
            block[0] = size
        block[1] = True
        return block

    def free(self, block):
        block[1] = False
        for _, blocks in self.segments:
            for position in range(len(blocks) - 1, 0, -1):
                if not blocks[position][1] and not blocks[position - 1][1]:
                    blocks[position - 1][0] += blocks.pop(position)[0]

    @property
    def allocated(self):
        return sum(block[0] for _, blocks in self.segments for block in blocks if block[1])

    @property
    def reserved(self):
        return sum(block[0] for _, blocks in self.segments for block in blocks)


def play(allocator, calls, *, after=lambda: None):
    """Runs the calls and returns what is still handed out."""
    live = []
    for size, gives_back, which in calls:
        address = allocator.malloc(size)
        live.append(address)
        after()
        if gives_back:
            allocator.free(live.pop(which % len(live)))
            after()
    return live


@pytest.mark.parametrize("chosen", [PLAIN, EXPANDABLE, SPLIT], ids=["plain", "expandable", "split"])
@given(calls=CALLS)
@settings(max_examples=150, deadline=None)
def test_it_counts_what_the_slow_model_counts(chosen, calls):
    """Allocated and reserved bytes agree with the rules applied one by one, after every call."""
    fast, slow = CachingAllocator(chosen), SlowModel(chosen)
    fast_live, slow_live = [], []
    for size, gives_back, which in calls:
        fast_live.append(fast.malloc(size))
        slow_live.append(slow.malloc(size))
        if gives_back:
            fast.free(fast_live.pop(which % len(fast_live)))
            slow.free(slow_live.pop(which % len(slow_live)))
        assert (fast.allocated, fast.reserved) == (slow.allocated, slow.reserved)


@pytest.mark.parametrize("chosen", [PLAIN, EXPANDABLE, SPLIT], ids=["plain", "expandable", "split"])
@given(calls=CALLS)
@settings(max_examples=60, deadline=None)
def test_memory_is_neither_lost_nor_handed_out_twice(chosen, calls):
    """Used and free blocks tile the segments without a gap, and reserved never falls below allocated."""
    allocator = CachingAllocator(chosen)

    def check():
        blocks = sorted((*allocator.used_blocks(), *allocator.free_blocks()))
        for (start, size), (following, _) in itertools.pairwise(blocks):
            assert start + size <= following
        assert sum(size for _, size in blocks) == sum(size for _, size in allocator.segments()) == allocator.reserved
        assert allocator.allocated <= allocator.reserved

    play(allocator, calls, after=check)


@pytest.mark.parametrize("chosen", [PLAIN, EXPANDABLE, SPLIT], ids=["plain", "expandable", "split"])
@given(calls=CALLS)
@settings(max_examples=60, deadline=None)
def test_everything_given_back_leaves_whole_segments(chosen, calls):
    """After the last release every segment is one free block again."""
    allocator = CachingAllocator(chosen)
    for address in play(allocator, calls):
        allocator.free(address)
    assert allocator.allocated == 0
    assert allocator.free_blocks() == allocator.segments()


@given(calls=CALLS)
@settings(max_examples=20, deadline=None)
def test_the_same_calls_give_the_same_addresses(calls):
    """Nothing but the calls decides where blocks lie."""
    first, second = CachingAllocator(), CachingAllocator()
    assert play(first, calls) == play(second, calls)


@given(calls=CALLS, room=st.integers(20 * MIB, 400 * MIB))
@settings(max_examples=60, deadline=None)
def test_a_limit_is_never_exceeded(calls, room):
    """Under a limit reserved memory stays below it; a request that cannot be met is said to be so."""
    allocator = CachingAllocator(AllocatorSettings(limit_bytes=room))
    live = []
    for size, gives_back, which in calls:
        with contextlib.suppress(MemoryError):
            live.append(allocator.malloc(size))
        assert allocator.reserved <= room
        if gives_back and live:
            allocator.free(live.pop(which % len(live)))


@pytest.mark.parametrize(
    ("size", "segment"),
    [
        (512, 2 * MIB),
        (MIB, 2 * MIB),
        (MIB + 512, 20 * MIB),
        (10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB),
        (10 * MIB + 512, 12 * MIB),
        (333 * MIB, 334 * MIB),
    ],
)
def test_segments_have_the_sizes_that_torch_asks_for(size, segment):
    """kSmallBuffer to 1 MiB, kLargeBuffer below 10 MiB, multiples of kRoundLarge from there."""
    assert segment_bytes(size) == segment


def test_small_requests_share_a_segment():
    """1 byte takes 512; 4096 blocks of 512 fill 2 MiB and the next one needs a second segment."""
    allocator = CachingAllocator()
    for _ in range(4096):
        allocator.malloc(1)
    assert (allocator.allocated, allocator.reserved) == (2 * MIB, 2 * MIB)
    allocator.malloc(1)
    assert allocator.reserved == 4 * MIB


def test_a_small_remainder_stays_with_a_large_block():
    """11.5 MiB gets a segment of 12 MiB whose half MiB is no block of its own, so 12 MiB count as allocated."""
    allocator = CachingAllocator()
    allocator.malloc(11 * MIB + MIB // 2)
    assert (allocator.allocated, allocator.reserved) == (12 * MIB, 12 * MIB)


def test_a_remainder_of_a_mebibyte_is_too_small_and_a_byte_more_is_not():
    """The large pool splits only where more than 1 MiB is left."""
    allocator = CachingAllocator()
    first = allocator.malloc(40 * MIB)
    allocator.free(first)
    allocator.malloc(39 * MIB)
    assert allocator.allocated == 40 * MIB
    allocator = CachingAllocator()
    allocator.free(allocator.malloc(40 * MIB))
    allocator.malloc(39 * MIB - 512)
    assert allocator.allocated == 39 * MIB - 512


def test_the_smallest_block_that_fits_is_taken():
    """Of free blocks of 60 and 30 MiB a request for 25 MiB takes the one of 30."""
    allocator = CachingAllocator()
    large, small = allocator.malloc(60 * MIB), allocator.malloc(30 * MIB)
    allocator.free(large)
    allocator.free(small)
    assert allocator.malloc(25 * MIB) == small


def test_a_small_request_never_uses_the_large_pool():
    """A free block of 100 MiB does not serve half a MiB."""
    allocator = CachingAllocator()
    allocator.free(allocator.malloc(100 * MIB))
    allocator.malloc(MIB // 2)
    assert allocator.reserved == 102 * MIB


def test_segments_do_not_merge():
    """Two free segments of 20 MiB cannot serve 40; an expandable segment can."""
    for chosen, reserved in ((PLAIN, 80 * MIB), (EXPANDABLE, 40 * MIB)):
        allocator = CachingAllocator(chosen)
        blocks = [allocator.malloc(20 * MIB), allocator.malloc(20 * MIB)]
        for block in blocks:
            allocator.free(block)
        allocator.malloc(40 * MIB)
        assert allocator.reserved == reserved


def test_an_expandable_segment_grows_only_by_what_its_free_end_lacks():
    """15 MiB maps a page of 20; 30 more use the 5 that are left and map 40."""
    allocator = CachingAllocator(EXPANDABLE)
    allocator.malloc(15 * MIB)
    allocator.malloc(30 * MIB)
    assert (allocator.allocated, allocator.reserved) == (45 * MIB, 60 * MIB)


def test_the_block_that_can_still_grow_is_taken_last():
    """A free end of 2 MiB is the best fit for 1.5, but a freed block of 16 is taken: the end can become larger."""
    allocator = CachingAllocator(EXPANDABLE)
    first = allocator.malloc(16 * MIB)
    allocator.malloc(2 * MIB)
    allocator.free(first)
    assert allocator.malloc(MIB + MIB // 2) == first


def test_an_unsplittable_block_serves_no_small_request():
    """With a split limit of 32 MiB a free block of 100 serves neither 10 nor 80, but 81 as a whole."""
    allocator = CachingAllocator(SPLIT)
    allocator.free(allocator.malloc(100 * MIB))
    allocator.malloc(10 * MIB)
    assert allocator.reserved == 110 * MIB
    allocator.malloc(80 * MIB)
    assert allocator.reserved == 190 * MIB
    allocator.malloc(81 * MIB)
    assert (allocator.allocated, allocator.reserved) == (190 * MIB, 190 * MIB)


def test_cached_segments_are_given_back_when_the_card_is_full():
    """30 MiB held free make room for 60 on a card of 64; 70 does not fit."""
    allocator = CachingAllocator(AllocatorSettings(limit_bytes=64 * MIB))
    allocator.free(allocator.malloc(30 * MIB))
    allocator.malloc(60 * MIB)
    assert (allocator.reserved, allocator.releases) == (60 * MIB, 1)
    with pytest.raises(MemoryError, match="the limit is 67108864"):
        allocator.malloc(10 * MIB)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_split_bytes": MIB}, "`max_split_bytes` of the allocator must be at least"),
        ({"expandable_segments": True, "limit_bytes": MIB}, "combination is not modelled"),
    ],
)
def test_settings_that_torch_or_the_model_refuse(wrong, message):
    """torch refuses a split limit below 20 MiB; what is not modelled is not guessed."""
    with pytest.raises(InvalidValueError, match=message):
        AllocatorSettings(**wrong)


def traced(*blocks):
    return Trace(
        blocks=blocks, phases=(Phase("load", 0),), operations=(), trainable_parameters=1, total_parameters=1
    )  # fmt: skip


def test_a_trace_is_replayed_in_the_order_of_its_events():
    """What is freed before it can be used again; host blocks and empty ones take nothing on the device."""
    trace = traced(
        Block(30 * MIB, "weights", 0, None),
        Block(50 * MIB, "activations", 1, 2),
        Block(50 * MIB, "temporaries", 3, 4),
        Block(90 * MIB, "optimizer_state", 5, None, "host"),
        Block(0, "temporaries", 6, 7),
    )
    assert replay(trace) == Replay(peak_allocated_bytes=80 * MIB, peak_reserved_bytes=80 * MIB, peak_time=1)


@given(
    lives=st.lists(
        st.tuples(st.integers(0, 40), st.one_of(st.none(), st.integers(1, 40)), st.integers(0, 2), st.booleans()),
        max_size=30,
    )
)
def test_calls_are_in_the_order_of_the_traces_events(lives):
    """The replay asks and frees in the order that the trace states, blocks of the host and of nothing left out."""
    trace = traced(
        *(
            Block(size, "activations", begin, None if life is None else begin + life, "host" if host else "device")
            for begin, life, size, host in lives
        )
    )
    stated = [(block, asks) for _, block, asks in events(trace) if trace.blocks[block].bytes]
    assert [(call % len(lives), bool(call // len(lives) & 1)) for call in calls_of(trace)] == stated


def test_a_replay_below_the_limit_says_when_it_fails():
    """The peaks are those before the request that could not be met."""
    trace = traced(Block(30 * MIB, "weights", 0, None), Block(50 * MIB, "activations", 1, 2))
    found = replay(trace, AllocatorSettings(limit_bytes=64 * MIB))
    assert (found.out_of_memory, found.peak_reserved_bytes) == (True, 30 * MIB)


def test_a_run_beyond_any_card_is_weighed_all_the_same():
    """A batch that asks for seventy terabytes does not fit; saying so takes addresses of as many bytes."""
    huge, large = 1 << 46, 1 << 30
    steps = Block(huge, "weights", 0, None), Block(large, "activations", 1, 2), Block(large, "activations", 3, None)
    found = replay(traced(*steps))
    assert found.peak_allocated_bytes == found.peak_reserved_bytes == huge + large


def test_what_expandable_segments_gain():
    """Blocks of growing size leave holes in segments of their own; in one segment they do not."""
    blocks = [Block(size * MIB, "activations", 2 * i, 2 * i + 1) for i, size in enumerate(range(20, 100, 10))]
    assert expandable_gain(traced(*blocks)) == (sum(range(20, 100, 10)) - 100) * MIB


def test_a_large_trace_is_replayed_fast():
    """50,000 events take well under 0.3 s; ten times the usual time is allowed for a busy machine."""
    blocks: list[Any] = []
    live: list[int] = []
    now = 0
    for index in range(25_000):
        blocks.append([((index * 7919) % 97 + 1) * 256 * KIB, now, None])
        live.append(index)
        now += 1
        if index % 3 and len(live) > 500:
            blocks[live.pop((index * 31) % len(live))][2] = now
            now += 1
    trace = traced(*(Block(size, "activations", begin, end) for size, begin, end in blocks))
    started = time.process_time()
    replay(trace)
    assert time.process_time() - started < 0.8
