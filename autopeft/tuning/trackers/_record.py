"""What a tracker is told: one record per trial that ended, and one for the winner."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autopeft.values.candidates import Candidate
from autopeft.values.names import ParameterValue
from autopeft.values.outcomes import Measurement, SearchResult, TrialOutcome

PROJECT = "autopeft"
"""The project or experiment that searches are kept under; the search's folder names the group in it."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run as trackers have it.

    Attributes:
        settings: of the configuration.
        curve: readings; their tokens are the steps.
        facts: figures at the end, all finite.
        tags: words about the run.
    """

    name: str
    settings: Mapping[str, ParameterValue]
    facts: Mapping[str, float]
    tags: Mapping[str, str]
    curve: tuple[Measurement, ...] = field(default=())


Log = Callable[[Record], None]
Open = Callable[[Path], Log]
"""Makes ready to log the search in a folder; whoever is not reachable is found out here, before the first trial."""


def losses(reading: Measurement) -> dict[str, float]:
    """Returns the two losses of a reading, without one that has no number."""
    both = {"train_loss": reading.train_loss, "validation_loss": reading.validation_loss}
    return {name: value for name, value in both.items() if math.isfinite(value)}


def trial_record(outcome: TrialOutcome) -> Record:
    """Returns a trial that ended; its metrics are those on validation, in their own terms."""
    facts: dict[str, float | None] = {
        **{f"validation_{name}": value for name, value in outcome.metrics.items()},
        "seconds": outcome.seconds,
        "tokens": outcome.tokens,
        "peak_bytes": outcome.peak_bytes,
        "estimated_bytes": outcome.estimated_bytes,
        "trainable_parameters": outcome.trainable_parameters,
        "forgetting": None if outcome.forgetting is None else outcome.forgetting.change,
        "latency_milliseconds": None if outcome.latency is None else outcome.latency.row_milliseconds,
        "adapter_bytes": outcome.adapter_bytes,
    }
    tags = {"status": outcome.status, "reason": outcome.reason}
    if outcome.continues is not None:
        tags["continues"] = f"trial {outcome.continues}"
    return Record(
        name=f"trial {outcome.number}",
        settings=_settings(outcome.candidate),
        facts=_finite(facts),
        tags={key: value for key, value in tags.items() if value},
        curve=outcome.curve,
    )


def winner_record(result: SearchResult) -> Record:
    """Returns the winner as trained anew, with its differences to the baselines on the test split."""
    facts: dict[str, float | None] = {
        f"validation_{result.winner.validation.metric}": result.winner.validation.value,
        f"test_{result.winner.test.metric}": result.winner.test.value,
        "test_low": result.winner.test.low,
        "test_high": result.winner.test.high,
        **{f"test_minus_{name}": gap.value for name, gap in result.difference.items()},
        "seconds": result.winner.seconds,
        "tokens": result.winner.tokens,
    }
    tags = {"status": "winner", "of": "" if result.winner_trial is None else f"trial {result.winner_trial}"}
    return Record(name="winner", settings=_settings(result.winner.config), facts=_finite(facts), tags=tags)


def _settings(candidate: Candidate) -> dict[str, ParameterValue]:
    """Returns all that a candidate sets, flat; the layers that ``gradient:K`` came to are a list and left out."""
    own = {key: value for key, value in vars(candidate).items() if key not in ("parameters", "layer_indices")}
    return {**candidate.parameters, **own}


def _finite(facts: Mapping[str, float | None]) -> dict[str, float]:
    return {key: float(value) for key, value in facts.items() if value is not None and math.isfinite(value)}
