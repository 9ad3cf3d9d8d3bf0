"""The end of a search: how long its contenders may train."""

import pytest

from autopeft.training.scoring import Objective
from autopeft.tuning.budget import trial_seconds
from autopeft.tuning.proposal import proposal
from autopeft.tuning.search import LEAST_TRIALS, _most_seconds, _outdone
from autopeft.tuning.study import TrialStudy
from autopeft.values.outcomes import Score
from tests.tuning.child import SETTINGS, STARTS, prepared


def score(value) -> Score:
    return Score(metric="accuracy", value=value, low=0.0, high=1.0, level=0.95, rows=9)


@pytest.mark.parametrize(("lower", "said"), [(False, ["untuned scores 0.9000"]), (True, ["tfidf x scores 0.7000"])])
def test_what_needs_no_tuning_and_does_better_is_said(lower, said):
    """Whoever reads the winner alone learns that a short search came to less than nothing at all."""
    objective = Objective(name="accuracy", metrics={}, lower_is_better=lower)
    notes = _outdone(score(0.8), {"untuned": score(0.9), "tfidf_x": score(0.7), "level": score(0.8)}, objective)
    assert [note.partition(" without")[0] for note in notes] == said


def test_whoever_compares_has_the_time_of_the_place_that_searched(tmp_path):
    """A machine that joined late trains contenders as long as the one that searched, and never for no time at all."""
    ready = prepared()
    full = LEAST_TRIALS * trial_seconds(SETTINGS.size, ready.parts, SETTINGS.tokens_per_second)
    late, long = (
        TrialStudy(tmp_path / "study.db", proposal(STARTS, depth=4), seed=0, place=place) for place in ("late", "long")
    )
    assert _most_seconds(late, ready, SETTINGS) == full > 0
    long.spend(1000.0, workers=4)
    late.spend(0.5)
    assert _most_seconds(late, ready, SETTINGS) == 1000.0
    assert late.seconds == 0.5
