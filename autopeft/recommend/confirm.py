"""Plans once more what leads the ranking, with traced memory where the formula cannot tell."""

from dataclasses import replace

from autopeft.estimation import draft, estimate
from autopeft.methods import get_method
from autopeft.recommend.plans import EstimateFunction, first_that_fits
from autopeft.recommend.rules import reasons_for
from autopeft.recommend.setting import Case, Setting, plan_setup
from autopeft.values.candidates import Candidate, Estimate, Setup, Suggestion
from autopeft.values.profiles import HardwareProfile

NEAR = (0.6, 1.4)
"""Shares of the memory limit between which the formula, within some 15 % where it is good, does not decide."""


def near(drafted: Estimate, limit: int) -> bool:
    """Returns whether a draft lies too near a limit in bytes to say what fits."""
    low, high = NEAR
    return low * limit < drafted.memory.total_bytes < high * limit


def settled(suggestion: Suggestion, setting: Setting) -> Suggestion:
    """Returns the suggestion as it is where its draft is far from the limit, and confirmed by a trace where not."""
    return confirmed(suggestion, setting) if near(suggestion.estimate, setting.memory_limit) else suggestion


def confirmed(suggestion: Suggestion, setting: Setting) -> Suggestion:
    """Returns the suggestion with traced memory, replanned where that fits otherwise than the formula thought."""
    method = get_method(suggestion.candidate.method)
    unplanned = _unplanned(suggestion.candidate)
    planned = first_that_fits(method, unplanned, setting, _traced_if_near(setting))
    traced = replace(planned, estimate=_trace(planned.candidate, setting))
    if _total(traced.estimate) > setting.memory_limit:
        traced = first_that_fits(method, unplanned, setting, estimate)
    if traced.estimate is None:
        return suggestion
    case = Case(method=method, candidate=traced.candidate, estimate=traced.estimate, setting=setting)
    reasons = reasons_for(case)
    return Suggestion(
        candidate=traced.candidate,
        estimate=traced.estimate,
        fits=_total(traced.estimate) <= setting.memory_limit,
        score=sum(reason.weight for reason in reasons),
        reasons=reasons,
    )


def _unplanned(candidate: Candidate) -> Candidate:
    """Returns a candidate as it was before quantization, checkpointing and batch were planned."""
    return replace(
        candidate,
        quantization="none",
        batch_size=candidate.batch_size * candidate.accumulation,
        accumulation=1,
        gradient_checkpointing=False,
    )


def _traced_if_near(setting: Setting) -> EstimateFunction:
    def cost(setup: Setup, *, tokens_per_row: int, hardware: HardwareProfile) -> Estimate:
        drafted = draft(setup, tokens_per_row=tokens_per_row, hardware=hardware)
        if not near(drafted, setting.memory_limit):
            return drafted
        return estimate(setup, tokens_per_row=tokens_per_row, hardware=hardware)

    return cost


def _trace(candidate: Candidate, setting: Setting) -> Estimate:
    return estimate(plan_setup(setting, candidate), tokens_per_row=setting.tokens_per_row, hardware=setting.hardware)


def _total(cost: Estimate | None) -> int:
    return cost.memory.total_bytes if cost else 0
