"""A run that cannot end in its time is known after a few steps, and one that had a hiccup is not taken for it."""

import math

import pytest

from autopeft.training.pace import LEAST_STEPS, Pace, longest_part


def timed(pace, *seconds):
    for taken in seconds:
        pace.add(100, taken)
    return pace


def test_slowness_is_known_after_a_few_steps():
    """Ten steps of two seconds take longer than fifteen, which four of them show."""
    pace = timed(Pace(15.0, 1000), *[2.0] * LEAST_STEPS)
    assert not pace.too_slow, "too few to say"
    assert timed(pace, 2.0).too_slow
    assert not timed(Pace(15.0, 1000), *[1.4] * 9).too_slow


def test_the_first_step_is_a_warm_up():
    """It builds what the others find ready, so it says nothing of them; nor do steps that took next to no time."""
    assert not timed(Pace(15.0, 1000), 60.0, *[1.0] * 5).too_slow
    assert not timed(Pace(100.0, 1e6), *[0.1] * 5).too_slow
    assert timed(Pace(100.0, 1e6), *[0.1] * 500).too_slow


@pytest.mark.parametrize("place", range(1, LEAST_STEPS + 1))
def test_a_hiccup_is_not_a_slow_method(place):
    """A step that the machine held up is slower than the method: the others say what it is."""
    steps = [0.03] * (LEAST_STEPS + 1)
    steps[place] = 12.0
    assert not timed(Pace(10.0, 10_000), *steps).too_slow


def test_without_a_limit_nothing_is_too_slow():
    """A full training has no time to keep."""
    assert not timed(Pace(math.inf, 1e9), *[60.0] * 9).too_slow


@pytest.mark.parametrize(("shares", "longest"), [((1.0,), 1.0), ((0.25, 0.5, 1.0), 0.5), ((0.6, 1.0), 0.6)])
def test_the_longest_part_is_between_two_readings(shares, longest):
    """Each part of a trial has the whole time again, so its longest one decides."""
    assert longest_part(shares) == pytest.approx(longest)
