"""What a search will cost, said before it starts."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from autopeft.errors import OutOfMemoryError
from autopeft.estimation import estimate
from autopeft.files import read_json
from autopeft.profiling.hardware import probe_hardware
from autopeft.training.worker import Worker
from autopeft.tuning.budget import FORWARD_SHARE, evaluation_seconds, measure_speed, trial_seconds, trial_size
from autopeft.tuning.finalists import MOST_FINALISTS
from autopeft.tuning.folder import SCHEMA_VERSION, Settings
from autopeft.tuning.halving import full_trials
from autopeft.tuning.limits import Limits
from autopeft.tuning.prepare import Prepared, Request
from autopeft.tuning.starts import for_trials_of
from autopeft.values.candidates import Candidate, Setup, halved

BASELINE_BUDGETS = 3
"""Full budgets that the baselines train on: the default recipe, and a race that comes to two."""

SCORED = 4
"""Who is scored on whole splits: the winner, two baselines, and the untuned model."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a search will cost.

    Attributes:
        candidates: what it starts from, in order.
        tokens: training tokens of a full trial, per fold.
        trial_seconds: of a trial that is not pruned, all its folds and its scoring included.
        search_seconds: until the trials are done: at most where a time is given, else about.
        comparison_seconds: what the comparison at the end adds, with as many finalists as there may be.
        download_bytes: weights that are not on this machine yet.
        tokens_per_second: of the first candidate, measured here, or estimated where weights are missing.
        at_once: how many trials are trained at the same time, each at that speed.
    """

    candidates: tuple[Candidate, ...]
    tokens: int
    trial_seconds: float
    search_seconds: float
    comparison_seconds: float
    download_bytes: int
    tokens_per_second: float
    at_once: int = 1


def measured_speed(prepared: Prepared, worker: Worker) -> float:
    """Returns training tokens per second of the first candidate, measured here; loads the weights."""
    return fitting_speed(prepared, lambda candidate: measure_speed(worker, candidate, prepared.parts[0]["train"]))


def fitting_speed(prepared: Prepared, measure: Callable[[Candidate], float]) -> float:
    """Returns the first candidate's speed, with half its rows at once as often as memory runs out.

    Args:
        prepared: the search.
        measure: returns the tokens per second of a candidate.

    Raises:
        OutOfMemoryError: one row at a time does not fit.
    """
    candidate = prepared.starts[0]
    while True:
        try:
            return measure(candidate)
        except OutOfMemoryError as error:
            if candidate.batch_size == 1:
                raise OutOfMemoryError(_TOO_LARGE.format(candidate.method, error)) from error
        candidate = halved(candidate)


_TOO_LARGE = (
    "{} does not fit with one row at a time, though it was estimated to: {}\n"
    "Free memory, give --memory what is really free, or take a smaller model or shorter rows."
)


def estimated_speed(prepared: Prepared) -> float:
    """Returns training tokens per second of the first candidate by its estimate, without its weights.

    The device's own throughput is measured, since a catalogue does not know every machine.
    """
    hardware = probe_hardware(measure=True)
    candidate, train = prepared.starts[0], prepared.parts[0]["train"]
    setup = Setup(model=prepared.model, task=prepared.model.task, candidate=candidate)
    tokens = math.ceil(sum(train.lengths) / len(train))
    seconds = estimate(setup, tokens_per_row=tokens, hardware=hardware).step_seconds
    if not seconds:
        raise RuntimeError(f"{hardware.device.name} was measured, and yet there is no step time for {candidate.dtype}.")
    return candidate.batch_size * candidate.accumulation * tokens / seconds


def settle(
    prepared: Prepared, tokens_per_second: float, request: Request, limits: Limits, at_once: int = 1
) -> Settings:  # fmt: skip
    """Returns the settings of a new search, sized by the first candidate's speed and the trials trained at once."""
    first = prepared.starts[0]
    size = trial_size(
        prepared.parts[0], tokens_per_second, limits.seconds, request.tokens, len(prepared.parts),
        first.batch_size * first.accumulation, all_parts=(request.folds, request.repeats) != (None, None),
        at_once=at_once,
    )  # fmt: skip
    return Settings(
        schema_version=SCHEMA_VERSION,
        identity=prepared.identity(request),
        size=size,
        tokens_per_second=tokens_per_second,
        starts=for_trials_of(size.tokens, fmean(prepared.parts[0]["train"].lengths), prepared.proposal),
        spaces=prepared.searched,
        process_peaks=prepared.hardware.device.kind == "cpu",
    )


def cost_of(
    prepared: Prepared, settings: Settings, limits: Limits, at_once: int = 1, competing: int = 1
) -> Cost:  # fmt: skip
    """Returns what a search with these settings and limits will cost.

    Args:
        prepared: the search.
        settings: of its study.
        limits: that end its trials.
        at_once: trials that are trained at the same time.
        competing: contenders that are trained at the same time when it ends.
    """
    size, speed = settings.size, settings.tokens_per_second
    training = size.tokens / speed
    scoring = evaluation_seconds(size, prepared.parts[0]["validation"], speed)
    trial = trial_seconds(size, prepared.parts, speed)
    by_trials = math.inf if limits.trials is None else trial * full_trials(limits.trials, size.readings) / at_once
    by_tokens = math.inf if limits.tokens is None else limits.tokens / speed / at_once * (training + scoring) / training
    by_time = math.inf if limits.seconds is None else limits.seconds
    return Cost(
        candidates=prepared.starts,
        tokens=size.tokens,
        trial_seconds=trial,
        search_seconds=min(by_trials, by_tokens, by_time),
        comparison_seconds=_compared_budgets(competing) * training + _scoring_seconds(prepared, speed),
        download_bytes=download_bytes(prepared),
        tokens_per_second=speed,
        at_once=at_once,
    )


def _compared_budgets(competing: int) -> float:
    """Returns the full budgets that pass while so many train at once: for finalists, and then for baselines.

    Whoever is free takes what is next, and no baseline takes less than a budget, so the last ends within what there is
    to do for each, and a budget's share for whom it is not divided (R. L. Graham, 1969: bounds for list schedules).
    """
    return math.ceil(MOST_FINALISTS / competing) + (BASELINE_BUDGETS - 1) / competing + 1


def _scoring_seconds(prepared: Prepared, tokens_per_second: float) -> float:
    """Returns the time for scoring whole splits."""
    tokens = sum(prepared.encoded["test"].lengths) + sum(prepared.encoded["validation"].lengths)
    return SCORED * tokens * FORWARD_SHARE / tokens_per_second


def download_bytes(prepared: Prepared) -> int:
    """Returns the size of the weights that have yet to be downloaded: 0 for local and cached models."""
    source = prepared.model.source
    if Path(source).exists():
        return 0
    name = _FILES.get(prepared.model.weight_format)
    return 0 if name is None or _cached(source, name) else prepared.model.weight_bytes or 0


_FILES = {"safetensors": "model.safetensors", "pytorch": "pytorch_model.bin"}
"""What a hub model's weights are called where one file holds them, by the format that is loaded."""


def _cached(source: str, name: str) -> bool:
    """Returns whether a hub model's weights are on this machine: the one file, or all parts that its index names."""
    from huggingface_hub import try_to_load_from_cache

    def path(name: str) -> str | None:
        found = try_to_load_from_cache(source, name)
        return found if isinstance(found, str) else None

    index = path(f"{name}.index.json")
    if index is None:
        return path(name) is not None
    return all(path(part) for part in set(read_json(Path(index))["weight_map"].values()))
