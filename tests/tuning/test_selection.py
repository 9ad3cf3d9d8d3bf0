"""What a search starts from: the default recipe's method first, then the most promising, kin set back."""

from dataclasses import replace

import pytest

from autopeft.errors import NothingFitsError
from autopeft.methods import baseline, get_method
from autopeft.recommend import recommend
from autopeft.tuning import selection
from autopeft.tuning.selection import METHODS_TRIED, starting_candidates
from tests.recommend.settings import SMALL, hardware, setting, task


@pytest.fixture(scope="module")
def advice():
    """What the shipped catalogue and evidence suggest."""
    return recommend(hardware(), SMALL, task(), traced=0)


@pytest.fixture(autouse=True)
def untraced(monkeypatch):
    """Takes memory as the formula has it."""
    monkeypatch.setattr(selection, "settled", lambda suggestion, _setting: suggestion)


def test_the_default_method_is_tried_before_any_other(advice):
    """Whatever is found has to be better than what everybody would take, wherever advice puts that."""
    starts = starting_candidates(advice, setting(), METHODS_TRIED)
    assert len({start.method for start in starts}) == METHODS_TRIED
    assert starts[0].method == baseline("default")[0]
    assert advice.candidates[0].candidate.method != starts[0].method, "else this shows nothing"
    assert starts[1].method == advice.candidates[0].candidate.method


def test_kin_are_set_back(advice, monkeypatch):
    """A short search learns less from one more of a family, so more families are among the first."""

    def families():
        return {get_method(start.method).family for start in starting_candidates(advice, setting(), METHODS_TRIED)}

    several = families()
    monkeypatch.setattr(selection, "KIN", 0.0)
    assert len(several) > len(families())


def test_what_does_not_fit_is_not_tried(advice, monkeypatch):
    """A start whose trace shows that it does not fit after all is left out, and none at all is an error."""
    monkeypatch.setattr(selection, "settled", lambda found, _: replace(found, fits=found.candidate.method != "lora"))
    assert "lora" not in {start.method for start in starting_candidates(advice, setting(), METHODS_TRIED)}
    monkeypatch.setattr(selection, "settled", lambda found, _: replace(found, fits=False))
    with pytest.raises(NothingFitsError, match="once it is traced"):
        starting_candidates(advice, setting(), METHODS_TRIED)
