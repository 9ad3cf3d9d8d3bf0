"""The largest value that fits: always one that was tried and fits, found with few questions."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autopeft.estimation.maximize import Target, largest, largest_that_fits

MOST = 1 << 20


@given(
    start=st.integers(1, 5000), slope=st.integers(1, 10**9), base=st.integers(0, 10**11), limit=st.integers(1, 10**12),
    curve=st.integers(0, 10**5),
)  # fmt: skip
def test_it_is_the_largest_of_a_rising_cost(start, slope, base, limit, curve):
    """The value fits and the next does not, whatever the line and however it bends."""

    def cost(value):
        return base + slope * value + curve * value * value

    found = largest(cost, limit, start=start, least=1, most=MOST)
    if found is None:
        assert cost(1) > limit
        return
    assert cost(found) <= limit
    assert found == MOST or cost(found + 1) > limit


@given(
    costs=st.lists(st.integers(0, 100), min_size=1, max_size=60), limit=st.integers(0, 100), start=st.integers(1, 60)
)
def test_a_cost_that_does_not_always_rise_still_gives_a_value_that_fits(costs, limit, start):
    """Reserved memory can fall as a batch grows; what is returned fits all the same."""
    found = largest(lambda value: costs[value - 1], limit, start=start, least=1, most=len(costs))
    assert found is None or costs[found - 1] <= limit


def test_a_straight_line_takes_few_questions():
    """A batch among a million is found by asking for about five."""
    asked = []

    def cost(value):
        asked.append(value)
        return 5_000_000_000 + 310_000_000 * value

    assert largest(cost, 24 << 30, start=1, least=1, most=MOST) == 66
    assert len(asked) <= 6


def test_the_ends_of_the_range_are_kept():
    """Where everything fits it is the largest allowed, where nothing does there is none, and small ranges work."""
    assert largest(lambda value: 0, 1, start=8, least=1, most=64) == 64
    assert largest(lambda value: 2, 1, start=8, least=1, most=64) is None
    assert largest(lambda value: value, 3, start=9, least=2, most=4) == 3
    assert largest(lambda value: value, 1, start=9, least=2, most=4) is None


def most_of(taken, limit, start):
    """Returns what is found for a method that takes these values alone, at a byte each, and what was asked for."""
    asked: list[int] = []

    def cost(changed):
        asked.append(changed.setup)
        return changed.setup

    def at(_, value):
        return SimpleNamespace(setup=value)

    method = SimpleNamespace(violations=lambda setup: () if setup in taken else ("refused",))
    plan: Any = SimpleNamespace(limit_bytes=limit, method=method)
    target = Target(name="rank", words="rank", start=start, most=64, at=at)
    return largest_that_fits(plan, target, cost=cost), asked


@given(taken=st.sets(st.integers(1, 64), min_size=1), limit=st.integers(0, 70), data=st.data())
def test_values_that_a_method_refuses_are_passed_over(taken, limit, data):
    """A method that takes even ranks, or multiples of its blocks, is asked about those: a refused one ends nothing."""
    found, asked = most_of(taken, limit, data.draw(st.sampled_from(sorted(taken))))
    assert found == max((value for value in taken if value <= limit), default=None)
    assert set(asked) <= taken
    assert len(asked) == len(set(asked))
