"""Measured runs order what the rules allow: every suggestion carries its prediction, and violations stand."""

from dataclasses import replace

import pytest

from autopeft.methods import get_method
from autopeft.recommend import expect, recommend
from autopeft.recommend.expect import RULE, WORTH, said, unit_of
from autopeft.recommend.setting import EPOCHS
from autopeft.values.predictions import Prediction
from tests.recommend.settings import SMALL, hardware, method, setting, task
from tests.recommend.test_recommender import PLAIN, TWIN, catalogue

__all__ = ["catalogue"]


@pytest.fixture
def predicted(monkeypatch):
    """Stands in for the surrogate: points by method, and what it was asked about."""
    asked = []

    def use(**points):
        def predict(described, *, unit):
            asked.extend(described)
            return tuple(
                Prediction(points=points[one.method.name], low=-9.0, high=9.0, level=0.8, unit=unit)
                for one in described
            )

        monkeypatch.setattr(expect, "predict", predict)
        return asked

    return use


def test_predictions_reorder_what_rules_leave_equal(catalogue, predicted):
    """Of two methods with the same rules the one that measured runs favour comes first, whichever it is."""
    catalogue(PLAIN, TWIN)
    for best in ("plain", "twin"):
        predicted(**{"plain": 0.0, "twin": 0.0, best: 3.0})
        found = recommend(hardware(), SMALL, task(), traced=0).candidates
        assert found[0].candidate.method == best
        (reason,) = (r for r in found[0].reasons if r.rule == RULE)
        assert reason.weight == 3.0 * WORTH
        assert found[0].prediction is not None
        assert found[0].prediction.points == 3.0


def test_a_prediction_never_brings_back_what_is_refused(catalogue, predicted):
    """However much a method is expected to gain, its own violation keeps it out."""
    predicted(plain=0.0, refuses=1000.0)
    catalogue(PLAIN, method(name="refuses", violations=("It finds no bias to train.",)))
    found = recommend(hardware(), SMALL, task(), traced=0)
    assert {s.candidate.method for s in found.candidates} == {"plain"}
    assert [r.method for r in found.rejected] == ["refuses"]


def test_a_clear_prediction_outweighs_rules(catalogue, predicted):
    """Rules alone order measured runs no better than chance does, so a point more is worth more than any of them."""
    catalogue(PLAIN, method(name="prompted", family="soft-prompt"))
    predicted(plain=0.0, prompted=0.0)
    assert recommend(hardware(), SMALL, task(), traced=0).candidates[0].candidate.method == "plain"
    predicted(plain=0.0, prompted=2.0)
    assert recommend(hardware(), SMALL, task(), traced=0).candidates[0].candidate.method == "prompted"


def test_the_surrogate_is_asked_about_the_planned_run(catalogue, predicted):
    """Tokens are those of the planned epochs; the candidate's own rate and size are described."""
    asked = predicted(plain=0.0)
    catalogue(PLAIN)
    recommend(hardware(), SMALL, task(rows=700, tokens=50), traced=0)
    assert {one.tokens for one in asked} == {700 * 50 * EPOCHS}
    assert {one.rows for one in asked} == {700}
    assert all(one.trainable > 0 for one in asked)


def test_gains_are_counted_in_what_the_task_is_judged_by():
    """Shares in points, a language task by its loss."""
    assert unit_of(setting()) == "points"
    assert unit_of(setting(task=task("generation"))) == "per cent of the loss"


def test_a_prediction_is_said_with_its_interval():
    """The number never stands without its interval and level."""
    one = Prediction(points=1.24, low=-3.06, high=5.5, level=0.8)
    assert said(one) == "+1.2 points (80 %: -3.1 to +5.5)"
    assert said(replace(one, unit="per cent of the loss")).startswith("+1.2 per cent of the loss")


def test_the_shipped_surrogate_orders_real_methods():
    """With the catalogue and the shipped evidence, a method that lost everywhere stands behind the default's family."""
    found = recommend(hardware(), SMALL, task(), traced=0)
    place: dict[str, int] = {}
    for number, suggestion in enumerate(found.candidates):
        place.setdefault(suggestion.candidate.method, number)
        assert suggestion.prediction is not None
        assert suggestion.prediction.low < suggestion.prediction.points < suggestion.prediction.high
        assert suggestion.prediction.nearest
    assert place["rslora"] < place["tinylora"]
    assert get_method("rslora").family == get_method("tinylora").family
