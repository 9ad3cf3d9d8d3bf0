"""What the report computes: fronts, importances, the search's clock, ticks and labels."""

import itertools
import math
import re
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.cli.suggest_view import _count as counted
from autopeft.report.clock import WallTime, search_clock
from autopeft.report.front import COSTS, costed, front
from autopeft.report.importances import LEAST_TRIALS, Tried, importances
from autopeft.report.svg.draw import circle, text, text_width
from autopeft.report.svg.frame import Area
from autopeft.report.svg.labels import place_labels
from autopeft.report.svg.scale import number, octets, scale
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Measurement, TrialOutcome

finite = st.floats(-1e9, 1e9).filter(lambda v: v == 0 or abs(v) > 1e-6)


def trial(number, score, parameters=100, loss=1.0, method="ia3", rate=1e-3):
    reading = Measurement(tokens=100, seconds=1.0, train_loss=loss, validation_loss=loss)
    return TrialOutcome(
        number=number, status="completed", candidate=Candidate(method=method, learning_rate=rate), score=score,
        curve=(reading,), trainable_parameters=parameters,
    )  # fmt: skip


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_dominates(drawn):
    """A trial is on the front exactly when no other costs no more and scores no less, one of the two strictly."""
    trials = [trial(number, float(score), cost) for number, (cost, score) in enumerate(drawn)]
    pairs = costed(trials, COSTS[0])
    found = {(value, outcome.score) for outcome, value in front(pairs)}
    points = {(cost, float(score)) for cost, score in drawn}
    expected = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in points)}
    assert found == expected


def test_what_was_not_measured_is_left_out():
    """A trial without a measured peak does not appear in the panel of memory."""
    assert costed([trial(0, 0.5)], COSTS[2]) == []


def made(losses, rates):
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    ranges = {
        "method": CategoricalDistribution(("ia3", "bitfit")),
        **{f"{name}.learning_rate": FloatDistribution(1e-4, 1e-1, log=True) for name in ("ia3", "bitfit")},
    }
    return [
        Tried(
            outcome=trial(number, 0.5, loss=loss, rate=rate, method="ia3" if number % 2 else "bitfit"),
            parameters={"method": "ia3", "ia3.learning_rate": rate},
            distributions=ranges,
        )
        for number, (loss, rate) in enumerate(zip(losses, rates, strict=True))
    ]


def test_importance_goes_to_what_decided():
    """Where the loss follows the learning rate alone, the rate gets nearly all of the importance."""
    rates = [10 ** (-4 + 3 * position / 39) for position in range(40)]
    found = importances(made([math.log(rate) for rate in rates], rates))
    assert found[0].across == "all methods"
    shares = dict(found[0].shares)
    assert shares.pop("learning rate, by its place in the method's range") > 0.9
    assert all(share < 0.1 for share in shares.values())


def test_too_few_trials_have_no_importances():
    """Below the least number of trials nothing is claimed."""
    few = LEAST_TRIALS - 1
    assert importances(made([float(n) for n in range(few)], [1e-3] * few)) == ()
    assert importances([]) == ()


def test_equal_losses_have_no_importances():
    """Where all losses are the same, no setting mattered."""
    assert importances(made([1.0] * 20, [10 ** (-4 + n / 10) for n in range(20)])) == ()


def test_pauses_are_left_out_of_the_clock():
    """A search resumed the next day goes on a moment after it was stopped."""
    begin = datetime(2026, 1, 1)
    later = begin + timedelta(days=1)
    clock = search_clock([
        WallTime(begin, begin + timedelta(seconds=30)),
        WallTime(later, later + timedelta(seconds=10)),
    ])  # fmt: skip
    assert clock.at(begin + timedelta(seconds=30)) == 30.0
    assert 30.0 < clock.at(later) < 40.0
    assert clock.pauses == (clock.at(later),)
    assert clock.at(later + timedelta(seconds=10)) - clock.at(later) == pytest.approx(10.0)


def test_a_long_trial_is_no_pause():
    """While a trial runs nothing is left out, however long it takes."""
    begin = datetime(2026, 1, 1)
    end = begin + timedelta(hours=3)
    assert search_clock([WallTime(begin, end), WallTime(end, None)]).pauses == ()


@given(st.lists(finite, min_size=1, max_size=8), st.booleans())
def test_scales_hold_their_values_and_their_ticks(values, zero):
    """Every value and every tick lies between the ends of the axis, ticks ascend, and there are not too many."""
    shown = [abs(value) for value in values] if zero else values
    made = scale(shown, 40.0, 640.0, zero=zero)
    ticks = made.ticks(6)
    assert all(40.0 - 1e-6 <= made.at(value) <= 640.0 + 1e-6 for value in [*shown, *ticks])
    assert ticks == sorted(set(ticks))
    assert 1 <= len(ticks) <= 8


@given(st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=8))
def test_logarithmic_scales_hold_their_values_and_their_ticks(values):
    """The same on a logarithmic axis."""
    made = scale(values, 0.0, 500.0, log=True)
    ticks = made.ticks(6)
    assert all(-1e-6 <= made.at(value) <= 500.0 + 1e-6 for value in [*values, *ticks])
    assert 1 <= len(ticks) <= 8


@given(st.lists(st.tuples(st.floats(50, 300), st.floats(30, 200)), min_size=1, max_size=25))
def test_labels_cover_neither_each_other_nor_a_point(points):
    """However close the points, no two labels overlap; what does not fit is left out."""
    where = Area(left=40, right=320, top=20, bottom=210)
    drawn = list(place_labels([(x, y, "some label") for x, y in points], points, where))
    boxes = []
    for each in drawn:
        x, y = (float(number) for number in re.findall(r'[xy]="(-?[\d.]+)"', each))
        boxes.append((x, y - 9, x + text_width("some label"), y + 1))
    for one, other in itertools.combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    for left, top, right, bottom in boxes:
        assert not any(left < x < right and top < y < bottom for x, y in points)


def test_sizes_are_written_in_three_digits():
    """1,000 MiB are 0.977 GiB: three digits always suffice."""
    assert [octets(v) for v in (512, 2**20, 1000 * 2**20, 3.5 * 2**30)] == ["512 B", "1 MiB", "0.977 GiB", "3.5 GiB"]


def test_labels_and_titles_are_text_not_markup():
    """Names of a user's own methods may hold what HTML would read as markup."""
    assert text(0, 0, "<a> & b").endswith(">&lt;a&gt; &amp; b</text>")
    assert "<title>&lt;a&gt; &amp; b</title>" in circle(0, 0, 1, "dot", "<a> & b")


@pytest.mark.parametrize(
    ("value", "written"),
    [(999, "999"), (1000, "1k"), (999_499, "999k"), (999_500, "1M"), (-999_950, "-1M"), (999_999_999, "1G")],
)
def test_what_rounds_to_a_thousand_has_the_next_unit(value, written):
    """A unit is chosen for the number as it is written: a thousand thousands are a million."""
    assert number(value) == written
    assert counted(abs(value)) == written.strip("-").replace("G", "B")


def test_numbers_without_a_size_are_written():
    """What is no number, or has no end, needs no unit to be told."""
    assert number(math.nan) == "nan"
    assert number(math.inf).startswith("inf")


def test_settings_of_a_method_of_ones_own_have_their_names():
    """An import path has dots of its own; the setting stands behind the last."""
    from optuna.distributions import FloatDistribution

    rates = [10 ** (-4 + n / 10) for n in range(20)]
    key = "mine.method.learning_rate"
    own = [
        Tried(
            outcome=trial(n, 0.5, loss=math.log(rate), rate=rate, method="mine.method"),
            parameters={"method": "mine.method", key: rate},
            distributions={"method": None, key: FloatDistribution(1e-4, 1e-1, log=True)},
        )
        for n, rate in enumerate(rates)
    ]
    _, of_one = importances([*own, *made([1.0, 2.0], [1e-3, 1e-2])])
    assert of_one.across == "mine.method"
    assert set(of_one.shares) == {"learning rate"}
