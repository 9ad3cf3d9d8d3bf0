"""What published runs say of a method is said with its source, and against the rules that they contradict."""

from dataclasses import replace

import pytest

from autopeft.methods import Seed, get_method
from autopeft.recommend import measured, rules
from autopeft.recommend.evidence import MeasuredGain, published_runs
from autopeft.recommend.measured import LEAST, UNMEASURED
from autopeft.recommend.measured import measured_reason as find
from autopeft.values.candidates import Reason
from tests.recommend.settings import case, method, setting, task

WRITES = setting(task=task("generation"))


def measured_reason(about) -> Reason:
    reason = find(about)
    assert reason is not None
    return reason


def gain(points, rates=(1e-3, 1e-2), noise=0.6):
    return MeasuredGain(
        points=points, runs=2, noise=noise, models=("a model",), tasks=("a task",), learning_rates=rates, source="there"
    )


@pytest.fixture
def found(monkeypatch):
    table: dict[str, MeasuredGain] = {}
    monkeypatch.setattr(measured, "measured_gain", table.get)
    return table


def test_what_was_measured_is_said_and_weighs_nothing_twice(found):
    """The runs are named with their gain and noise; the prediction, which rests on them, has the weight."""
    found["fake"] = gain(3.0)
    reason = measured_reason(case(method(), within=WRITES))
    assert (reason.rule, reason.verdict, reason.weight, reason.source) == ("measured-elsewhere", "note", 0.0, "there")
    assert "2 published runs on a model (a task)" in reason.because
    assert "+3.0 points" in reason.because


def contradicted(about):
    return {reason.rule: reason.contradicted for reason in rules.reasons_for(about) if reason.contradicted}


def test_a_rule_that_runs_speak_against_says_by_how_much(found):
    """A clear loss contradicts what prefers the method for its quality, and nothing that speaks of its cost."""
    complex_task = setting(task=task("token-classification"))
    inserted = case(method("adapter"), within=complex_task, trained=10**8)
    found["fake"] = gain(-5.0)
    assert set(contradicted(inserted)) == {"adapters-suit-complex-tasks"}
    assert "-5.0 points" in contradicted(inserted)["adapters-suit-complex-tasks"]
    fired = {reason.rule for reason in rules.reasons_for(inserted)}
    assert "merges-away" in fired
    found["fake"] = gain(+5.0)
    assert contradicted(inserted) == {}
    assert set(contradicted(case(method("soft-prompt"), trained=10**8))) == {"prefixes-are-sensitive"}


def test_what_a_method_gains_says_nothing_of_how_it_is_set_up(found):
    """It was compared with plain updates of the same modules, mostly, so a gain is none of attention alone."""
    found["fake"] = gain(+5.0)
    alone = replace(case(method("low-rank")), candidate=replace(case(method("low-rank")).candidate, targets="qv"))
    assert "attention-alone-falls-short" in {reason.rule for reason in rules.reasons_for(alone)}
    assert "attention-alone-falls-short" not in contradicted(alone)


def test_noise_and_starved_runs_contradict_nothing(found):
    """Neither a difference within noise, nor a small one, nor a loss at rates that starve speaks against a rule."""
    inserted = case(method("adapter"), within=setting(task=task("token-classification")), trained=10**8)
    low = method().learning_rate.low
    for weak in (gain(-5.0, noise=3.0), gain(-0.9 * LEAST, noise=0.1), gain(-30.0, rates=(low,))):
        found["fake"] = weak
        assert contradicted(inserted) == {}


def test_a_loss_at_starving_rates_is_said_to_be_one(found):
    """A method that was run only at the bottom of its own range of rates is not blamed for losing there."""
    low = method().learning_rate.low
    found["fake"] = gain(-30.0, rates=(low,))
    assert "starve" in measured_reason(case(method(), within=WRITES)).because


def test_what_nobody_measured_comes_after_its_like(found):
    """Without a run a method loses a little; what others are measured against does not."""
    reason = measured_reason(case(method()))
    assert (reason.rule, reason.weight) == ("not-measured-elsewhere", UNMEASURED)
    seed = Seed(parameters={"rank": 8}, learning_rate=2e-4, source="made by hand")
    assert find(case(method(baseline={"default": seed}))) is None


def test_the_shipped_runs_are_read():
    """A method of the published comparison has a reason in it, with the address of the runs."""
    reason = measured_reason(case(get_method("rslora"), within=WRITES))
    assert "+4." in reason.because
    assert reason.source.startswith("https://")


def test_runs_that_do_not_count_are_not_denied():
    """Of a method whose published runs are its authors' own, it is not said that there are none."""
    assert any(run.method == "pissa" for run in published_runs())
    reason = measured_reason(case(get_method("pissa"), within=WRITES))
    assert "by others than a method's authors and scored by a share" in reason.because
