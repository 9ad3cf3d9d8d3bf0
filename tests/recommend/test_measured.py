"""What published runs say of a method moves its score, within bounds, and is said with its source."""

import pytest

from autopeft.methods import Seed, get_method
from autopeft.recommend import measured
from autopeft.recommend.evidence import MeasuredGain
from autopeft.recommend.measured import MOST, OTHER_KIND, UNMEASURED
from autopeft.recommend.measured import measured_reason as find
from autopeft.values.candidates import Reason
from tests.recommend.settings import case, method, setting, task

WRITES = setting(task=task("generation"))


def measured_reason(about) -> Reason:
    reason = find(about)
    assert reason is not None
    return reason


def gain(points, rates=(1e-3, 1e-2)):
    return MeasuredGain(
        points=points, runs=2, noise=0.6, models=("a model",), tasks=("a task",), learning_rates=rates, source="there"
    )


@pytest.fixture
def found(monkeypatch):
    table: dict[str, MeasuredGain] = {}
    monkeypatch.setattr(measured, "measured_gain", table.get)
    return table


def test_gains_and_losses_move_the_score(found):
    """Better than plain low-rank speaks for a method, worse against it, and never by more than the bound."""
    found["fake"] = gain(3.0)
    good = measured_reason(case(method(), within=WRITES))
    assert (good.verdict, good.source) == ("prefer", "there")
    assert 0.4 < good.weight < MOST
    assert "2 published runs on a model (a task)" in good.because
    assert "+3.0 points" in good.because
    found["fake"] = gain(-60.0)
    bad = measured_reason(case(method(), within=WRITES))
    assert (bad.verdict, bad.weight) == ("avoid", -MOST)


def test_another_kind_of_task_counts_less(found):
    """Runs on writing say less about labelling."""
    found["fake"] = gain(3.0)
    writing, labelling = (measured_reason(case(method(), within=where)) for where in (WRITES, setting()))
    assert labelling.weight == pytest.approx(OTHER_KIND * writing.weight, abs=1e-3)


def test_a_loss_at_starving_rates_says_little(found):
    """A method that was run only at the bottom of its own range of rates is not blamed for losing there."""
    low = method().learning_rate.low
    found["fake"] = gain(-30.0, rates=(low,))
    reason = measured_reason(case(method(), within=WRITES))
    assert (reason.verdict, reason.weight) == ("avoid", UNMEASURED)
    assert "starve" in reason.because


def test_what_nobody_measured_comes_after_its_like(found):
    """Without a run a method loses a little; what others are measured against does not."""
    reason = measured_reason(case(method()))
    assert (reason.rule, reason.weight) == ("not-measured-elsewhere", UNMEASURED)
    seed = Seed(parameters={"rank": 8}, learning_rate=2e-4, source="made by hand")
    assert find(case(method(baseline={"default": seed}))) is None


def test_the_shipped_runs_are_read():
    """A method of the published comparison has a reason in it, with the address of the runs."""
    reason = measured_reason(case(get_method("rslora"), within=WRITES))
    assert reason.weight > 0
    assert reason.source.startswith("https://")
