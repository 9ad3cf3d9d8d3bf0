"""Spends a little time on real steps of the first suggestions, and corrects what was predicted by what was seen.

Each of the first few trains for the same few dozen steps on the real model and data. What a run gained in held-out loss
over the others is taken for its final gain with an error that grows with what is left of the training; prediction and
observation are combined by their variances. Published probing of this kind comes within 1.5 points; what this one buys
stands in ``benchmarks/LOG.md``.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from autopeft.data import EncodedData, encode, load_data
from autopeft.errors import DivergedError, OutOfMemoryError, TimedOutError
from autopeft.profiling.tokenizer import load_tokenizer
from autopeft.recommend.expect import repredicted
from autopeft.recommend.observed import combined
from autopeft.recommend.recommender import ranked
from autopeft.recommend.setting import planned_tokens
from autopeft.recommend.suggest import Profiles
from autopeft.training.devices import memory_guard
from autopeft.training.run import TrainingRun, collate
from autopeft.training.scoring import held_out_loss
from autopeft.training.worker import Worker
from autopeft.values.candidates import Candidate, Recommendation, Suggestion, rows_at_once
from autopeft.values.plans import Plan
from autopeft.values.predictions import ProbeRun

PROBED = 6
"""Methods that are probed at the most: the recommender's first."""

FEWEST_STEPS, MOST_STEPS = 10, 60
"""Steps below which a reading is noise, and above which a search is the better use of the time."""

PILOT_STEPS = 3
VALIDATION_ROWS = 200

BEGUN = 0.97
"""Share of the loss before training down to which one run at least must have come: while nothing has begun to learn,
that all losses are alike says nothing."""

LOST = 20.0
"""What a run that diverged is taken to have lost to the worst that did not, in per cent of the loss."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """What all probe runs share."""

    worker: Worker
    data: EncodedData
    deadline: float

    def tokens(self, steps: int, candidate: Candidate) -> int:
        """Returns the tokens that so many steps of a candidate come to."""
        return round(steps * candidate.batch_size * candidate.accumulation * mean(self.data["train"].lengths))


def probe(profiles: Profiles, data: str, found: Recommendation, seconds: float, say: Say) -> Recommendation:
    """Returns the recommendation with its first suggestions probed, in the order that this gives.

    Args:
        profiles: of the device, the model and the data.
        data: file, folder or hub name, as for the suggestion.
        found: what was recommended.
        seconds: to spend, loading included; a run is not begun that cannot end in time.
        say: takes a line about each run.

    Raises:
        AutopeftError: the data or the model cannot be read.
    """
    started = time.monotonic()
    task = profiles.task
    loaded = load_data(data, task=task.task, columns=task.columns or None)
    tokenizer = load_tokenizer(profiles.model.source)
    bench = _Bench(
        worker=Worker(profiles.model, profiles.hardware, head_seed=0),
        data=encode(loaded, tokenizer, profiles.model.kind),
        deadline=started + seconds,
    )
    leaders = _leaders(found.candidates)
    start, steps, leaders = _afforded(bench, leaders)
    runs: dict[int, ProbeRun] = {}
    for suggestion in leaders if steps else ():
        if time.monotonic() > bench.deadline:
            break
        run = _run(bench, suggestion.candidate, steps)
        say(f"{suggestion.candidate.method}: {_told(run)}")
        runs[id(suggestion)] = run
    took = time.monotonic() - started
    losses = [run.loss for run in runs.values() if run.loss is not None]
    seen = replace(found, candidates=tuple(replace(s, probe=runs.get(id(s))) for s in found.candidates))
    if len(losses) < 2:
        return replace(seen, notes=(*found.notes, _too_few(seconds, start, list(runs.values()))))
    if min(losses) > BEGUN * start:
        begun = f"In {steps} steps nothing began to learn (loss {start:.3f} at first, {min(losses):.3f} at best)"
        return replace(seen, notes=(*found.notes, f"{begun}, so predictions are as they were. Probe for longer."))
    return _corrected(seen, profiles, took)


def _too_few(seconds: float, start: float, runs: Sequence[ProbeRun]) -> str:
    """Returns why there are not two losses to compare: runs that did not end, none that could begin, or the time."""
    if ends := sorted({run.status.replace("_", " ") for run in runs if run.loss is None}):
        ended = f"{len(runs)} probed, fewer than two of them to the end ({', '.join(ends)})"
        return f"Nothing is to be compared: {ended}. Predictions are as they were."
    if math.isfinite(start):
        return f"{seconds:.0f} s are too few to probe anything here."
    return "Nothing was probed: none of the first suggestions can take a few steps here."


def _leaders(suggestions: Sequence[Suggestion]) -> list[Suggestion]:
    """Returns the first suggestion of each of the first methods that fit."""
    first: dict[str, Suggestion] = {}
    for suggestion in suggestions:
        if suggestion.fits:
            first.setdefault(suggestion.candidate.method, suggestion)
    return list(first.values())[:PROBED]


def _afforded(bench: _Bench, leaders: list[Suggestion]) -> tuple[float, int, list[Suggestion]]:
    """Returns the loss before training, and for how many steps how many of the leaders can run in the time.

    A few steps of the first that can take them say how long steps take.
    """
    start, step = _pilot(bench, leaders)
    for count in range(len(leaders), 1, -1):
        # Attaching and scoring take about as long as half of the fewest steps.
        steps = int((bench.deadline - time.monotonic()) / count / step - FEWEST_STEPS / 2)
        if steps >= FEWEST_STEPS:
            return start, min(steps, MOST_STEPS), leaders[:count]
    return start, 0, []


def _pilot(bench: _Bench, leaders: Sequence[Suggestion]) -> tuple[float, float]:
    """Returns the loss before training and the seconds of a step, both of the first leader that can take a few.

    Where all diverge or do not fit, there is no loss, and a step takes for ever.
    """
    for leader in leaders:
        candidate = leader.candidate
        plan = Plan(tokens=bench.tokens(PILOT_STEPS, candidate))
        try:
            with memory_guard(), bench.worker.attached(candidate, plan, bench.data["train"]) as run:
                start = _loss(bench, run)
                run.advance(1.0)
                return start, run.seconds / max(1, run.done)
        except (DivergedError, OutOfMemoryError):
            continue
    return math.nan, math.inf


def _run(bench: _Bench, candidate: Candidate, steps: int) -> ProbeRun:
    """Returns what a candidate's few steps came to; only what a trial is expected to meet is caught."""
    plan = Plan(tokens=bench.tokens(steps, candidate))
    started = time.monotonic()
    try:
        with memory_guard(), bench.worker.attached(candidate, plan, bench.data["train"], bench.deadline) as run:
            norm = _gradient_norm(bench, run)
            run.advance(1.0)
            loss = _loss(bench, run)
            if not math.isfinite(loss):
                raise DivergedError(f"The validation loss is {loss}.")
    except DivergedError:
        return ProbeRun(status="diverged", seconds=time.monotonic() - started)
    except TimedOutError:
        return ProbeRun(status="timed_out", seconds=time.monotonic() - started)
    except OutOfMemoryError:
        return ProbeRun(status="out_of_memory", seconds=time.monotonic() - started)
    return ProbeRun(
        status="completed", steps=run.done, tokens=run.tokens, loss=loss, gradient_norm=norm,
        seconds=time.monotonic() - started,
    )  # fmt: skip


def _gradient_norm(bench: _Bench, run: TrainingRun) -> float:
    """Returns the norm of the trained parameters' gradient on one batch, before the first step."""
    batch = collate(run.dataset, run.steps[0][0], bench.worker.device)
    run.model.train()
    run.model(**batch).loss.backward()
    norm = math.sqrt(sum(float(p.grad.norm()) ** 2 for p in run.model.parameters() if p.grad is not None))
    run.model.zero_grad(set_to_none=True)
    return norm


def _loss(bench: _Bench, run: TrainingRun) -> float:
    split = bench.data["validation"]
    return held_out_loss(
        run.model, split, bench.worker.task, dtype=run.candidate.dtype, device=bench.worker.device,
        rows=min(VALIDATION_ROWS, len(split)), batch_size=rows_at_once(run.candidate, bench.worker.device),
    )  # fmt: skip


def _told(run: ProbeRun) -> str:
    if run.loss is None:
        return f"{run.status.replace('_', ' ')} after {run.seconds:.0f} s"
    return f"loss {run.loss:.3f} after {run.steps} steps, gradient norm {run.gradient_norm:.2g}, {run.seconds:.0f} s"


def _corrected(found: Recommendation, profiles: Profiles, took: float) -> Recommendation:
    """Returns the recommendation with the predictions of what was probed corrected, and in the order of that."""
    known = {place: s for place, s in enumerate(found.candidates) if s.probe is not None and s.prediction is not None}
    runs = [s.probe for s in known.values() if s.probe is not None]
    predictions = [s.prediction for s in known.values() if s.prediction is not None]
    after = combined(predictions, readings(runs), planned_tokens(profiles.task) / max(run.tokens for run in runs))
    changed = list(found.candidates)
    for (place, suggestion), prediction in zip(known.items(), after, strict=True):
        changed[place] = repredicted(suggestion, prediction)
    note = f"{len(runs)} suggestions were probed in {took:.0f} s; their predictions are corrected by what was seen."
    return replace(found, candidates=ranked(changed), notes=(*found.notes, note))


def readings(runs: Sequence[ProbeRun]) -> list[float | None]:
    """Returns what each run gained in per cent of the loss, up to a constant; None where it says nothing.

    A run that diverged lost something; one that ran out of time or memory says nothing of quality.
    """
    gains = [-100 * math.log(max(run.loss, 1e-6)) for run in runs if run.loss is not None]
    worst = min(gains, default=0.0)

    def reading(run: ProbeRun) -> float | None:
        if run.loss is not None:
            return -100 * math.log(max(run.loss, 1e-6))
        return worst - LOST if run.status == "diverged" else None

    return [reading(run) for run in runs]
