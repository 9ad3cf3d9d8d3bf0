"""What leads a ranking is planned once more with traced memory; what is far from the limit is not."""

from dataclasses import replace

import pytest

from autopeft.errors import NothingFitsError
from autopeft.estimation import draft
from autopeft.recommend import confirm, recommend
from autopeft.recommend.confirm import NEAR, near, settled
from autopeft.recommend.remedies import too_large
from autopeft.values.candidates import Constraints
from tests.recommend.settings import decoder, hardware, method, setting, task
from tests.recommend.test_recommender import INSERTED, PLAIN, catalogue

__all__ = ["catalogue"]

LARGE_ENOUGH = decoder()


@pytest.fixture
def traces(monkeypatch):
    """Stands in for the tracer: so many times the draft's activations, and a list of what was traced."""
    seen = []

    def use(factor):
        def traced(setup, *, tokens_per_row, hardware):
            seen.append(setup.candidate)
            cost = draft(setup, tokens_per_row=tokens_per_row, hardware=hardware)
            reserved = int(cost.memory.peak_reserved_bytes * factor)
            return replace(cost, memory=replace(cost.memory, peak_reserved_bytes=reserved), notes=("traced",))

        monkeypatch.setattr(confirm, "estimate", traced)
        return seen

    return use


def total(suggestion):
    return suggestion.estimate.memory.total_bytes


def test_what_is_shown_is_traced_and_the_rest_is_not(catalogue, traces):
    """The first suggestions carry traced memory; the others their draft's."""
    seen = traces(1.1)
    catalogue(PLAIN, INSERTED, *(method(name=f"m{n}") for n in range(5)))
    found = recommend(hardware(), LARGE_ENOUGH, task(), traced=3).candidates
    assert [s.estimate.notes == ("traced",) for s in found] == [True] * 3 + [False] * (len(found) - 3)
    assert {c.method for c in seen} == {s.candidate.method for s in found[:3]}


def test_a_plan_that_turns_out_too_large_is_made_smaller(catalogue, traces):
    """Where a trace needs more than the formula thought, batch or storage are planned again until it fits."""
    catalogue(PLAIN)
    drafted = recommend(hardware(), LARGE_ENOUGH, task(), traced=0).candidates[0]
    limit = int(total(drafted) * 1.05)
    traces(1.3)
    found = recommend(hardware(), LARGE_ENOUGH, task(), Constraints(memory_bytes=limit), traced=1).candidates[0]
    assert found.fits
    assert total(found) <= limit
    assert found.candidate != drafted.candidate
    rows = found.candidate.batch_size * found.candidate.accumulation
    assert rows == drafted.candidate.batch_size * drafted.candidate.accumulation
    assert found.candidate.learning_rate == drafted.candidate.learning_rate


def test_what_no_plan_makes_fit_comes_last(catalogue, traces):
    """A leader that does not fit after all is said not to, and stands behind those that do."""
    catalogue(PLAIN, INSERTED)
    traces(100.0)
    limit = int(max(total(s) for s in recommend(hardware(), LARGE_ENOUGH, task(), traced=0).candidates) * 1.01)
    found = recommend(hardware(), LARGE_ENOUGH, task(), Constraints(memory_bytes=limit), traced=1).candidates
    assert [s.fits for s in found] == [True] * (len(found) - 1) + [False]


def test_a_search_traces_only_what_is_near_its_limit(catalogue, traces):
    """Far from the limit the formula decides, and a search does not wait for traces."""
    seen = traces(1.0)
    catalogue(PLAIN)
    drafted = recommend(hardware(), LARGE_ENOUGH, task(), traced=0).candidates[0]
    roomy, tight = (
        setting(model=LARGE_ENOUGH, constraints=Constraints(memory_bytes=int(total(drafted) * share)))
        for share in (1 / NEAR[0] + 0.1, 1.1)
    )
    assert settled(drafted, roomy) is drafted
    assert seen == []
    assert settled(drafted, tight).estimate.notes == ("traced",)
    assert near(drafted.estimate, total(drafted))


def test_where_no_trace_fits_nothing_is_proposed(catalogue, traces):
    """When what the formula let through does not fit by its trace, that is said with what each method lacks."""
    catalogue(PLAIN)
    limit = int(max(total(s) for s in recommend(hardware(), LARGE_ENOUGH, task(), traced=0).candidates) * 1.01)
    traces(100.0)
    with pytest.raises(NothingFitsError, match=r"plain: lacks .* GiB.*It fits with .*a card with"):
        recommend(hardware(), LARGE_ENOUGH, task(), Constraints(memory_bytes=limit), traced=99)


def test_rows_short_enough_by_their_draft_are_no_remedy_for_a_trace(catalogue):
    """What a trace needed more than the formula thought it needs, about, for shorter rows too."""
    catalogue(PLAIN)
    drafted = recommend(hardware(), LARGE_ENOUGH, task(), traced=0).candidates[0]
    memory = drafted.estimate.memory
    grown = replace(memory, peak_reserved_bytes=4 * memory.peak_reserved_bytes)
    traced = replace(drafted, estimate=replace(drafted.estimate, memory=grown))
    limited = setting(model=LARGE_ENOUGH, constraints=Constraints(memory_bytes=int(1.01 * total(drafted))))
    assert "a card with" in (remedy := too_large(PLAIN, [traced], limited).remedy)
    assert "rows of at most" not in remedy


def test_leaders_stand_in_the_order_of_what_their_traces_made_of_them(catalogue, traces, monkeypatch):
    """A score that a trace has changed has its place by what it is now."""
    catalogue(PLAIN, INSERTED)
    drafted = recommend(hardware(), LARGE_ENOUGH, task(), traced=0).candidates[:2]
    assert drafted[0].score > drafted[1].score
    traces(1.0)
    monkeypatch.setattr("autopeft.recommend.recommender.confirmed", lambda s, _: replace(s, score=-s.score))
    found = recommend(hardware(), LARGE_ENOUGH, task(), traced=2).candidates[:2]
    assert [s.candidate for s in found] == [s.candidate for s in drafted[::-1]]


def test_rules_judge_the_seeds_rate_traced_or_not(catalogue, traces):
    """A rule that has lowered a rate is still among the reasons, though it would not fire at the lowered one."""
    catalogue(PLAIN)
    traces(1.0)
    drafted, traced = (recommend(hardware(), LARGE_ENOUGH, task(), traced=count).candidates[0] for count in (0, 1))
    assert traced.estimate.notes == ("traced",)
    assert "wide-models-want-lower-rates" in {reason.rule for reason in drafted.reasons}
    assert [reason.rule for reason in traced.reasons] == [reason.rule for reason in drafted.reasons]
