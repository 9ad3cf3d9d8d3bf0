"""The end of a search: how long its contenders may train."""

from autopeft.tuning.budget import trial_seconds
from autopeft.tuning.proposal import proposal
from autopeft.tuning.search import LEAST_TRIALS, _most_seconds
from autopeft.tuning.study import TrialStudy
from tests.tuning.child import SETTINGS, STARTS, prepared


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
