"""What trials took, beside what was estimated for them: what corrects later estimates for this card and stack."""

import datetime
import math
from collections.abc import Collection, Sequence

from autopeft.estimation.estimate import uncorrected
from autopeft.estimation.observations import enabled, observed, record
from autopeft.tuning.prepare import Prepared
from autopeft.values.candidates import Candidate, Estimate, Setup
from autopeft.values.outcomes import TrialOutcome

MOST_KEPT = 6
"""Trials of one run of a search that are traced for this, at some tenths of a second each."""


def keep_observations(
    prepared: Prepared, outcomes: Sequence[TrialOutcome], known: Collection[int], *, crowded: bool = False
) -> int:
    """Keeps what completed trials took, unless the user has switched that off, and returns how many.

    Step times are kept on every device whose speed is known, peaks on GPUs alone: a CPU's is that of the whole process.
    What several devices took together is not what is estimated for one, nor is the step of a trial that shared one.

    Args:
        prepared: the search.
        outcomes: of all its trials.
        known: numbers of the trials that were there before this run of it: the one that ran them has kept them, unless
            it was killed.
        crowded: whether trials shared their device with others.
    """
    device = prepared.hardware.device
    timed = device.throughput is not None and not crowded
    if not enabled() or not prepared.team.alone or not (timed or device.kind == "cuda"):
        return 0
    new = [o for o in outcomes if o.status == "completed" and o.number not in known][:MOST_KEPT]
    for outcome in new:
        if timed:
            _keep_time(prepared, outcome)
        if device.kind == "cuda" and outcome.peak_bytes is not None and _met_all_rows(prepared, outcome):
            _keep_peak(prepared, outcome)
    return len(new)


def _keep_time(prepared: Prepared, outcome: TrialOutcome) -> None:
    usual = _estimate(prepared, outcome.candidate, _mean_tokens(prepared))
    seconds = _step_seconds(prepared, outcome)
    record(observed(prepared.hardware.device, usual, date=_today(), step_seconds=seconds))


def _keep_peak(prepared: Prepared, outcome: TrialOutcome) -> None:
    longest = max(max(part["train"].lengths) for part in prepared.parts)
    expected = _estimate(prepared, outcome.candidate, longest)
    if expected.memory.peak_phase:  # a formula's is a bound, which is meant to lie above what is measured
        record(observed(prepared.hardware.device, expected, date=_today(), reserved_bytes=outcome.peak_bytes))


def _met_all_rows(prepared: Prepared, outcome: TrialOutcome) -> bool:
    """Whether a trial took all training rows, the longest among them, at least once: a shorter one needs less."""
    return outcome.tokens >= sum(sum(part["train"].lengths) for part in prepared.parts)


def _today() -> str:
    return datetime.date.today().isoformat()


def _estimate(prepared: Prepared, candidate: Candidate, tokens: int) -> Estimate:
    setup = Setup(model=prepared.model, task=prepared.model.task, candidate=candidate)
    return uncorrected(setup, tokens_per_row=tokens, hardware=prepared.hardware)


def _mean_tokens(prepared: Prepared) -> int:
    lengths = prepared.parts[0]["train"].lengths
    return math.ceil(sum(lengths) / len(lengths))


def _step_seconds(prepared: Prepared, outcome: TrialOutcome) -> float:
    """Returns the seconds of a step of mean length: tokens are what trials are measured in."""
    candidate, last = outcome.candidate, outcome.curve[-1]
    return last.seconds / last.tokens * _mean_tokens(prepared) * candidate.batch_size * candidate.accumulation
