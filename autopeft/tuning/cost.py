"""What a search will cost, said before it starts."""

import math
from dataclasses import dataclass
from pathlib import Path

from autopeft.training.worker import Worker
from autopeft.tuning.budget import measure_speed, pruning_rows, trial_tokens
from autopeft.tuning.folder import SCHEMA_VERSION, Settings
from autopeft.tuning.prepare import Prepared, Request
from autopeft.values.candidates import Candidate

COMPARED_BUDGETS = 4
"""Full budgets of the final comparison: the winner, the default recipe, and a race that comes to two."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a search stops: after so many trials or seconds, whichever comes first; None is no limit."""

    trials: int | None
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a search will cost.

    Attributes:
        candidates: what it starts from, in order.
        tokens: training tokens of a full trial, per fold.
        trial_seconds: of a trial that is not pruned, evaluation left out.
        search_seconds: until the trials are done, at most.
        comparison_seconds: what the comparison at the end adds, evaluation left out.
        download_bytes: weights that are not on this machine yet.
        tokens_per_second: measured here on the first candidate.
    """

    candidates: tuple[Candidate, ...]
    tokens: int
    trial_seconds: float
    search_seconds: float
    comparison_seconds: float
    download_bytes: int
    tokens_per_second: float


def settle(prepared: Prepared, worker: Worker, request: Request, limits: Limits) -> Settings:
    """Returns the settings of a new search, sized by a speed measured on the first candidate."""
    train = prepared.parts[0]["train"]
    speed = measure_speed(worker, prepared.starts[0], train)
    tokens = trial_tokens(train, speed, limits.seconds, request.tokens, len(prepared.parts))
    return Settings(
        schema_version=SCHEMA_VERSION,
        identity=prepared.identity(request),
        tokens=tokens,
        pruning_rows=pruning_rows(prepared.parts[0]["validation"], tokens),
        tokens_per_second=speed,
    )


def cost_of(prepared: Prepared, settings: Settings, limits: Limits) -> Cost:
    """Returns what a search with these settings and limits will cost."""
    trial = settings.tokens * len(prepared.parts) / settings.tokens_per_second
    by_trials = math.inf if limits.trials is None else trial * limits.trials
    by_time = math.inf if limits.seconds is None else limits.seconds
    return Cost(
        candidates=prepared.starts,
        tokens=settings.tokens,
        trial_seconds=trial,
        search_seconds=min(by_trials, by_time),
        comparison_seconds=COMPARED_BUDGETS * settings.tokens / settings.tokens_per_second,
        download_bytes=download_bytes(prepared),
        tokens_per_second=settings.tokens_per_second,
    )


def download_bytes(prepared: Prepared) -> int:
    """Returns the size of the weights that have yet to be downloaded: 0 for local and cached models."""
    source = prepared.model.source
    if Path(source).exists():
        return 0
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(source, "model.safetensors")
    return 0 if isinstance(cached, str) else prepared.model.weight_bytes or 0
