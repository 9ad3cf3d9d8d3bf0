"""What published runs say of a candidate's method: beside the rules, and against those that they contradict."""

from collections.abc import Sequence
from dataclasses import replace

from autopeft.recommend.evidence import SHIPPED, MeasuredGain, measured_gain
from autopeft.recommend.setting import Case
from autopeft.values.candidates import Reason

UNMEASURED = -0.25
"""What a method loses that no disinterested runs are known to compare: enough to break ties between dozens."""

CLEAR = 2.0
"""Standard errors from 0 from which a measured gain contradicts a rule."""

LEAST = 1.0
"""Points below which it does not, however many runs agree."""


def measured_reason(case: Case) -> Reason | None:
    """Returns what was measured of the candidate's method, None for the one that others are measured against.

    It has no weight of its own where there are runs: the prediction rests on the same ones.
    """
    if case.method.baseline:
        return None
    gain = measured_gain(case.method.name)
    if gain is None:
        return Reason(
            rule="not-measured-elsewhere",
            verdict="avoid",
            because="No published runs that autopeft knows, by others than a method's authors and scored by a share, "
            "compare it with plain low-rank updates.",
            source=SHIPPED,
            weight=UNMEASURED,
        )
    starve = f", but at rates that starve it: at most {gain.learning_rates[-1]:g}" if _starved(gain, case) else ""
    return Reason(
        rule="measured-elsewhere", verdict="note", because=f"In {_said(gain)}{starve}.", source=gain.source, weight=0.0
    )


def with_contradictions(reasons: Sequence[Reason], case: Case, judged: frozenset[str]) -> tuple[Reason, ...]:
    """Returns the reasons, those that measured runs of the method clearly speak against with what was measured.

    Args:
        reasons: that fired for a candidate.
        case: the candidate.
        judged: ids of rules that say how good a method gets, not how it is set up or what it costs.
    """
    gain = None if case.method.baseline else measured_gain(case.method.name)
    if gain is None or _starved(gain, case) or abs(gain.points) < max(LEAST, CLEAR * gain.noise):
        return tuple(reasons)
    return tuple(
        replace(reason, contradicted=f"Measured otherwise: in {_said(gain)}.")
        if reason.rule in judged and reason.weight * gain.points < 0
        else reason
        for reason in reasons
    )


def _starved(gain: MeasuredGain, case: Case) -> bool:
    rates = case.method.learning_rate
    return gain.points < 0 and gain.starved(rates.low, rates.high)


def _said(gain: MeasuredGain) -> str:
    return (
        f"{gain.runs} published run{'s' * (gain.runs != 1)} on {' and '.join(gain.models)} ({'; '.join(gain.tasks)}) "
        f"it came {gain.points:+.1f} points to plain low-rank updates (noise {gain.noise:.1f})"
    )
