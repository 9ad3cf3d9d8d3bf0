"""What published runs say of a candidate's method, as a reason beside the rules."""

import math

from autopeft.recommend.evidence import MeasuredGain, measured_gain
from autopeft.recommend.setting import Case
from autopeft.values.candidates import Reason

MOST = 0.75
"""What the best evidence moves a score by: less than a clear rule, since it comes from few models and tasks, and
methods whose rates are tuned end within a point or two of each other (Lee et al., arXiv 2602.04998)."""

POINTS = 4.0
"""Points of a hundred at which evidence has most of its weight: five times the noise of one run."""

UNMEASURED = -0.25
"""What a method loses that nobody is known to have compared: enough to break ties between dozens of them."""

SHIPPED = "profiles/evidence"
"""Where the measured runs lie that autopeft knows."""

OTHER_KIND = 0.5
"""What is left of the weight where the runs were on tasks of another kind: writing against labelling."""


def measured_reason(case: Case) -> Reason | None:
    """Returns what was measured of the candidate's method, None for the one that others are measured against."""
    if case.method.baseline:
        return None
    gain = measured_gain(case.method.name)
    if gain is None:
        return Reason(
            rule="not-measured-elsewhere",
            verdict="avoid",
            because="No published runs that autopeft knows compare it with plain low-rank updates.",
            source=SHIPPED,
            weight=UNMEASURED,
        )
    rates = case.method.learning_rate
    starved = gain.points < 0 and gain.starved(rates.low, rates.high)
    return Reason(
        rule="measured-elsewhere",
        verdict="prefer" if gain.points > 0 else "avoid",
        because=_because(gain, starved=starved),
        source=gain.source,
        weight=UNMEASURED if starved else _weight(gain, case),
    )


def _weight(gain: MeasuredGain, case: Case) -> float:
    kinship = 1.0 if case.setting.needs.generative else OTHER_KIND
    return round(MOST * math.tanh(gain.points / POINTS) * kinship, 3)


def _because(gain: MeasuredGain, *, starved: bool) -> str:
    text = (
        f"In {gain.runs} published run{'s' * (gain.runs != 1)} on {' and '.join(gain.models)} "
        f"({'; '.join(gain.tasks)}) it came {gain.points:+.1f} points to plain low-rank updates (noise "
        f"{gain.noise:.1f})"
    )
    if starved:
        return f"{text}, but at rates that starve it: at most {gain.learning_rates[-1]:g}."
    return f"{text}."
