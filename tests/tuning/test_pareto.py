"""The front holds what nothing dominates, and the knee is not moved by units or by noise."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.errors import InvalidValueError
from autopeft.fronts import front
from autopeft.tuning.pareto import check_objectives, explained, knee, search_front
from autopeft.values.candidates import Candidate
from autopeft.values.names import CRITERIA
from autopeft.values.outcomes import Forgetting, Latency, Measurement, TrialOutcome

points = st.integers(2, 4).flatmap(
    lambda width: st.lists(
        st.tuples(*[st.integers(-8, 8).map(float)] * width), min_size=1, max_size=14
    )  # small numbers, so that ties are common
)
DEFAULT = Candidate(method="ia3", learning_rate=1e-3)


def beats(one, other):
    """No worse in anything, and not the same."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


@given(points)
def test_no_member_is_dominated_and_everyone_else_is(costs):
    """No member of the front is dominated by any point, and every other point is dominated by a member."""
    members = set(front(costs))
    assert members
    for place, own in enumerate(costs):
        beaten_by = [index for index, other in enumerate(costs) if beats(other, own)]
        assert bool(beaten_by) == (place not in members)
        if beaten_by:
            assert any(other in members for other in beaten_by)


@given(points, st.lists(st.integers(-20, 20), min_size=4, max_size=4))
def test_units_change_neither_the_front_nor_the_knee(costs, powers):
    """Bytes or gigabytes, seconds or hours: the same points are on the front, and the same one is the knee."""
    factors = [2.0**power for power in powers[: len(costs[0])]]
    scaled = [tuple(value * factor for value, factor in zip(row, factors, strict=True)) for row in costs]
    places = front(costs)
    assert front(scaled) == places
    grains = [tuple(0.5 for _ in row) for row in costs]
    wide = [tuple(0.5 * factor for factor in factors) for _ in costs]
    units = [3.0 for _ in factors]
    assert knee([costs[p] for p in places], [grains[p] for p in places], units) == knee(
        [scaled[p] for p in places], [wide[p] for p in places], [3.0 * factor for factor in factors]
    )


@given(points)
def test_the_knee_is_on_the_front(costs):
    """Even asked among all points, the knee is one that nothing dominates, where everything can be told apart."""
    assert knee(costs, [tuple(0.0 for _ in row) for row in costs], [0.0 for _ in costs[0]]) in front(costs)


def trial(number, score, error=0.01, seconds=10.0, **facts):
    reading = Measurement(tokens=100, seconds=seconds, train_loss=1.0, validation_loss=1.0)
    known = {"candidate": DEFAULT, **facts}
    return TrialOutcome(number=number, status="completed", score=score, score_error=error, curve=(reading,), **known)


@given(st.lists(st.floats(0.80, 0.805), min_size=3, max_size=3))
def test_quality_that_validation_cannot_tell_apart_is_no_reason(scores):
    """Where all scores lie within one standard error, the quickest is taken, whichever of them drew the best score."""
    trials = [
        trial(number, score, seconds=seconds)
        for number, (score, seconds) in enumerate(zip(scores, (8.0, 4.0, 6.0), strict=True))
    ]
    assert search_front(trials, ("quality", "time")).preferred[0].number == 1


def test_quality_that_is_seen_counts():
    """A loss of ten standard errors is not made up for by a tenth of the time."""
    trials = [trial(0, 0.9, seconds=10.0), trial(1, 0.8, seconds=9.0), trial(2, 0.5, seconds=8.5)]
    assert search_front(trials, ("quality", "time")).preferred[0].number == 0


def test_a_cost_within_its_noise_is_no_reason():
    """Two per cent of time, which a busy machine takes and gives, do not decide; the better score does."""
    trials = [trial(0, 0.9, seconds=10.0), trial(1, 0.8999, seconds=9.8)]
    assert search_front(trials, ("quality", "time")).preferred[0].number == 0


def test_every_objective_is_read_where_it_was_measured():
    """Each objective's figure is what was measured; a trial that lacks one is left out, and quality has no front."""
    forgetting = Forgetting(measure="perplexity", before=20.0, after=22.0, change=2.0, rows=9, tokens=90)
    latency = Latency(attached_milliseconds=16.0, merged_milliseconds=8.0, rows=8, tokens=80)
    whole = trial(3, -7.25, peak_bytes=2**30, forgetting=forgetting, latency=latency)
    lacking = replace(whole, number=4, latency=None, score=-1.0)
    stopped = replace(whole, number=5, status="pruned")
    found = search_front([whole, lacking, stopped], CRITERIA)
    (point,) = found.points(-1.0)
    assert point.number == 3
    assert dict(point.values) == {
        "quality": 7.25, "memory": 2**30, "time": 10.0, "forgetting": 2.0, "latency": 1.0
    }  # fmt: skip
    assert search_front([whole], ("quality",)).trials == ()


def test_the_knee_says_what_it_gives_up_and_what_it_saves():
    """The reason names the best trial, the gap, its standard error and each cost that differs."""
    trials = [
        trial(0, 0.90, seconds=20.0, peak_bytes=2**30),
        trial(1, 0.89, seconds=5.0, peak_bytes=2**30),
        trial(2, 0.50, seconds=4.9, peak_bytes=2**30),
    ]
    found = search_front(trials, ("quality", "memory", "time"))
    told = explained(found.preferred[0], found, "accuracy", 1.0)
    assert told.number == 1
    assert "accuracy 0.8900 is 0.0100 from the best, trial 0, which is within the standard error of 0.0141" in (
        told.reason
    )
    assert told.reason.endswith("training time 5.0 s instead of 20.0 s.")


@pytest.mark.parametrize(
    ("names", "told"),
    [(("memory",), "quality, alone or with others"), (("quality", "speed"), "one of forgetting"), ((), "quality")],
)
def test_objectives_without_quality_or_unknown_are_refused(names, told):
    """Quality has to be among them, an unknown name is named, and their order does not matter."""
    with pytest.raises(InvalidValueError, match=told):
        check_objectives(names)
    assert check_objectives(("time", "quality")) == ("quality", "time")
