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


def keep_observations(prepared: Prepared, outcomes: Sequence[TrialOutcome], known: Collection[int]) -> int:
    """Keeps what completed trials took, unless the user has switched that off, and returns how many.

    Step times are kept on every device, peaks on GPUs alone: a CPU's is that of the whole process.

    Args:
        prepared: the search.
        outcomes: of all its trials.
        known: numbers of trials that an earlier run of it has kept.
    """
    if not enabled() or prepared.hardware.device.throughput is None:
        return 0
    new = [o for o in outcomes if o.status == "completed" and o.number not in known][:MOST_KEPT]
    for outcome in new:
        _keep(prepared, outcome)
    return len(new)


def _keep(prepared: Prepared, outcome: TrialOutcome) -> None:
    device, today = prepared.hardware.device, datetime.date.today().isoformat()
    usual = _estimate(prepared, outcome.candidate, _mean_tokens(prepared))
    record(observed(device, usual, date=today, step_seconds=_step_seconds(prepared, outcome)))
    if device.kind == "cuda" and outcome.peak_bytes is not None:
        longest = _estimate(prepared, outcome.candidate, prepared.task.tokens.longest)
        record(observed(device, longest, date=today, reserved_bytes=outcome.peak_bytes))


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
