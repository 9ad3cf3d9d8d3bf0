"""The user's own trials on the same model and data correct what published runs predict, and no others do."""

from dataclasses import replace

import pytest

from autopeft.recommend import recommend
from autopeft.recommend._evidence_trials import model_facts, task_facts
from autopeft.values.evidence import Run, RunQuality
from tests.recommend.settings import SMALL, hardware, setting, task
from tests.recommend.test_recommender import INSERTED, PLAIN, TWIN, catalogue

__all__ = ["catalogue"]


def trial(method, accuracy, number=0, **changes):
    """A finished trial of a search on the small model and the five thousand rows."""
    where = setting()
    run = Run(
        name=f"search-{number}", setting="search", model=model_facts(where.model, "small"),
        task=task_facts(where.task, "search"), method=method, original=method, tokens=100_000, status="completed",
        quality=RunQuality(metric="accuracy", value=accuracy), date="2026-11-21", device="a card",
        source="autopeft search",
        licence="the user's own",
    )  # fmt: skip
    return replace(run, **changes)


def expected(own, *methods):
    found = recommend(hardware(), SMALL, task(), traced=0, own=own)
    predictions = {s.candidate.method: s.prediction for s in found.candidates if s.prediction}
    return [predictions[name].points for name in methods], found


def test_what_the_users_trials_found_better_is_expected_to_be(catalogue):
    """Of two methods that nothing else tells apart, the one that did better in a search leads the next suggestion."""
    catalogue(PLAIN, TWIN)
    before, _ = expected((), "plain", "twin")
    assert before[0] == pytest.approx(before[1])
    for best, order in (("plain", 1), ("twin", -1)):
        own = [trial("plain", 0.8 + 0.05 * order), trial("twin", 0.8 - 0.05 * order, 1)]
        after, found = expected(own, "plain", "twin")
        assert (after[0] - after[1]) * order > 0
        assert found.candidates[0].candidate.method == best
        assert any(note.startswith("2 of your own trials") for note in found.notes)


def test_a_methods_best_trial_counts(catalogue):
    """A rate that a search has tried in vain says nothing of the method."""
    catalogue(PLAIN, TWIN)
    own = [trial("plain", 0.9), trial("plain", 0.5, 1), trial("twin", 0.8, 2)]
    (plain, twin), _ = expected(own, "plain", "twin")
    assert plain > twin


@pytest.mark.parametrize(
    "other",
    [
        {"status": "pruned", "quality": None},
        {"model": model_facts(replace(SMALL, layers=9), "other")},
        {"task": task_facts(task(rows=4000), "other")},
        {"task": task_facts(task("pair-classification"), "other")},
    ],
)
def test_trials_elsewhere_change_nothing(catalogue, other):
    """Another model, other data, another task or an unfinished trial say nothing here; neither does one alone."""
    catalogue(PLAIN, TWIN, INSERTED)
    own = [trial("plain", 0.9, **other), trial("twin", 0.5, 1, **other)]
    assert recommend(hardware(), SMALL, task(), traced=0, own=own) == recommend(hardware(), SMALL, task(), traced=0)
    alone = recommend(hardware(), SMALL, task(), traced=0, own=[trial("plain", 0.9)])
    assert alone == recommend(hardware(), SMALL, task(), traced=0)


def test_a_metric_of_ones_own_counts_in_no_points(catalogue):
    """Nobody knows what a user's own metric ranges over; a task's own metric counts though it is no share."""
    catalogue(PLAIN, TWIN)

    def scored(metric, *values):
        return [
            trial(name, 0.5, place, quality=RunQuality(metric=metric, value=value, share=False))
            for place, (name, value) in enumerate(zip(("plain", "twin"), values, strict=True))
        ]

    plain = recommend(hardware(), SMALL, task(), traced=0)
    assert recommend(hardware(), SMALL, task(), traced=0, own=scored("mine:percent", 87.0, 61.0)) == plain
    (better, worse), _ = expected(scored("mcc", 0.8, 0.4), "plain", "twin")
    assert better > worse


def test_trials_that_correct_nothing_are_not_said_to(catalogue):
    """A search over methods of which one alone is suggested leaves all as it was, and is not in the notes."""
    catalogue(PLAIN, TWIN)
    own = [trial("plain", 0.9), trial("inserted", 0.5, 1)]
    assert recommend(hardware(), SMALL, task(), traced=0, own=own) == recommend(hardware(), SMALL, task(), traced=0)
