"""Plans once more what leads the ranking, with traced memory where the formula cannot tell."""

from dataclasses import replace

from autopeft.estimation import draft, estimate
from autopeft.methods import get_method
from autopeft.recommend.expect import repredicted
from autopeft.recommend.plans import EstimateFunction, first_that_fits
from autopeft.recommend.rules import RATE, reasons_for
from autopeft.recommend.setting import Case, Setting, plan_setup
from autopeft.values.candidates import Candidate, Estimate, Setup, Suggestion
from autopeft.values.profiles import HardwareProfile

MOST_TRACES = 2
"""Traces of one suggestion: the draft's choice, and the one that its trace makes of the others."""

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
    """Returns the suggestion with traced memory, replanned where that fits otherwise than the formula thought.

    How far a trace is from its draft holds for the other batches and storages too, nearly: they are planned by their
    drafts times that, and what comes of it is traced in turn.
    """
    method = get_method(suggestion.candidate.method)
    candidate, traced = suggestion.candidate, _trace(suggestion.candidate, setting)
    best, seen = (candidate, traced), {repr(candidate)}
    for _ in range(MOST_TRACES - 1):
        planned = first_that_fits(method, _unplanned(candidate), setting, _scaled(candidate, traced, setting))
        candidate = planned.candidate
        if planned.estimate is None or repr(candidate) in seen:
            break
        seen.add(repr(candidate))
        traced = _trace(candidate, setting)
        if _fits(candidate, traced, setting) or not _fits(*best, setting):
            best = candidate, traced
    return _suggested(*best, suggestion, setting)


def _suggested(candidate: Candidate, traced: Estimate, drafted: Suggestion, setting: Setting) -> Suggestion:
    """Returns the suggestion with what was traced; its rate and its prediction are as they were."""
    method = get_method(candidate.method)
    traced = setting.shared(traced, plan_setup(setting, candidate))
    judged = replace(candidate, learning_rate=drafted.seed_rate or candidate.learning_rate)
    reasons = reasons_for(Case(method=method, candidate=judged, estimate=traced, setting=setting))
    reasons += tuple(reason for reason in drafted.reasons if reason.rule == RATE)
    found = replace(
        drafted, candidate=candidate, estimate=traced, reasons=reasons,
        fits=traced.memory.total_bytes <= setting.memory_limit,
        score=sum(reason.weight for reason in reasons),
    )  # fmt: skip
    return found if found.prediction is None else repredicted(found, found.prediction)


def _unplanned(candidate: Candidate) -> Candidate:
    """Returns a candidate as it was before quantization, checkpointing and batch were planned."""
    return replace(
        candidate,
        quantization="none",
        batch_size=candidate.batch_size * candidate.accumulation,
        accumulation=1,
        gradient_checkpointing=False,
    )


def _scaled(candidate: Candidate, traced: Estimate, setting: Setting) -> EstimateFunction:
    """Returns drafts with reserved memory as far from them as this candidate's trace is from its own."""
    ratio = traced.memory.peak_reserved_bytes / _draft(candidate, setting).memory.peak_reserved_bytes

    def cost(setup: Setup, *, tokens_per_row: int, hardware: HardwareProfile) -> Estimate:
        drafted = draft(setup, tokens_per_row=tokens_per_row, hardware=hardware)
        reserved = int(drafted.memory.peak_reserved_bytes * ratio)
        return replace(drafted, memory=replace(drafted.memory, peak_reserved_bytes=reserved))

    return cost


def _draft(candidate: Candidate, setting: Setting) -> Estimate:
    return draft(plan_setup(setting, candidate), tokens_per_row=setting.tokens_per_row, hardware=setting.hardware)


def _trace(candidate: Candidate, setting: Setting) -> Estimate:
    return estimate(plan_setup(setting, candidate), tokens_per_row=setting.tokens_per_row, hardware=setting.hardware)


def _fits(candidate: Candidate, traced: Estimate, setting: Setting) -> bool:
    cost = setting.shared(traced, plan_setup(setting, candidate))
    return cost.memory.total_bytes <= setting.memory_limit
