"""Where a search's trials are short, no start lies below the middle of the rates that are searched."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.tuning.proposal import Proposal, proposal
from autopeft.tuning.space import Range, load_space
from autopeft.tuning.starts import HOTTER, SHORT_STEPS, for_trials_of
from autopeft.tuning.study import TrialStudy
from autopeft.values.candidates import Candidate

SPACE = load_space("lora")
MIDDLE = math.sqrt(float(SPACE.learning_rate.low or 0) * float(SPACE.learning_rate.high or 0))
ROW = 20.0
STEP = 16 * ROW


def started(tokens, rate=1e-5, searched=SPACE.learning_rate, **candidate):
    start = Candidate(method="lora", learning_rate=rate, **{"batch_size": 16, **candidate})
    spaces = {"lora": replace(SPACE, learning_rate=searched)}
    found, *hotter = for_trials_of(tokens, ROW, Proposal(spaces=spaces, starts={"lora": start}))
    assert replace(found, learning_rate=rate) == start
    assert [one.learning_rate / found.learning_rate for one in hotter] == pytest.approx(
        [HOTTER] * len(hotter), rel=0.05
    )
    return found.learning_rate


def test_a_short_trial_starts_in_the_middle():
    """Up to the longest short trial a low rate is raised to the geometric mean of the ends; beyond it stands."""
    assert started(int(SHORT_STEPS * STEP)) == pytest.approx(MIDDLE, rel=0.05)
    assert started(int((SHORT_STEPS + 1) * STEP)) == 1e-5


def test_steps_count_accumulated_batches():
    """The same tokens in micro-batches are as many steps as in whole ones."""
    tokens = int((SHORT_STEPS + 1) * STEP)
    assert started(tokens, batch_size=4, accumulation=4) == 1e-5
    assert started(tokens, batch_size=16, accumulation=2) == pytest.approx(MIDDLE, rel=0.05)


@given(st.floats(1e-6, 1.0))
def test_no_rate_is_lowered(rate):
    """A start above the middle stays where it is."""
    assert started(100, rate=rate) >= rate


def test_listed_rates_are_the_users(monkeypatch):
    """Rates that a space lists have no middle."""
    assert started(100, searched=Range(choices=(1e-5, 1e-4))) == 1e-5


def tried(tokens, rate=1e-5, method="lora"):
    """The rates that a method is begun with."""
    space = load_space(method)
    start = Candidate(method=method, learning_rate=rate, batch_size=16)
    return [
        c.learning_rate for c in for_trials_of(tokens, ROW, Proposal(spaces={method: space}, starts={method: start}))
    ]


def test_short_trials_try_the_default_recipe_once_more_and_hotter():
    """A race of its rates would, up to the highest that is searched; no other method, and no longer trial, has it."""
    middle, hotter = tried(100)
    assert hotter == pytest.approx(HOTTER * middle, rel=0.05)
    assert len(tried(100, rate=float(SPACE.learning_rate.high or 0) / 2)) == 1
    assert len(tried(100, method="ia3")) == 1
    assert tried(int((SHORT_STEPS + 1) * STEP)) == [1e-5]


def test_a_method_that_is_begun_twice_has_one_space(tmp_path):
    """Draws are filled up with its first start, and both are in the queue."""
    one, other = (Candidate(method="lora", learning_rate=rate, batch_size=16) for rate in (1e-3, 3e-3))
    made = proposal((one, other, Candidate(method="ia3", learning_rate=1e-2)), depth=4)
    assert list(made.starts) == list(made.spaces) == ["lora", "ia3"]
    assert made.starts["lora"] == one
    study = TrialStudy(tmp_path / "study.db", made, seed=0)
    study.enqueue((one, other))
    assert [study.ask()[1].learning_rate for _ in range(2)] == [1e-3, 3e-3]
