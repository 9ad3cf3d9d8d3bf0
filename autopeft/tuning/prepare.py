"""Everything a search needs before its first trial: profiles, data, objective, and the candidates to start from."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from autopeft.data import (
    Data,
    EncodedData,
    RowCache,
    UserMetric,
    class_weights,
    encode,
    folds,
    load_data,
    load_metric,
    row_cache,
    token_limit,
)
from autopeft.errors import NothingFitsError, invalid
from autopeft.estimation import draft, estimate
from autopeft.files import plain
from autopeft.methods import get_method
from autopeft.profiling.hardware import probe_hardware
from autopeft.profiling.model import read_model
from autopeft.profiling.sizes import format_bytes
from autopeft.profiling.task import describe_task
from autopeft.profiling.tokenizer import load_tokenizer
from autopeft.recommend import recommend
from autopeft.recommend.budget import parse_budget
from autopeft.recommend.confirm import near, settled
from autopeft.recommend.setting import Setting, setting_of
from autopeft.tasks import Metric, Predictions, get_task
from autopeft.training.forgetting import general_texts
from autopeft.training.scoring import Objective
from autopeft.training.worker import Worker
from autopeft.tuning.pareto import check_objectives
from autopeft.tuning.proposal import Proposal, proposal
from autopeft.values.candidates import Candidate, Constraints, Estimate, Recommendation, Setup, Suggestion
from autopeft.values.names import Criterion, EstimateSource, Task
from autopeft.values.profiles import HardwareProfile, ModelProfile, TaskProfile

METHODS_TRIED = 8
"""How many methods a search starts from when the user names none: the recommender's first."""

KIN = 0.5
"""What a method's score loses for each of its family that is tried before it."""

FOLDED_BELOW = 3000
"""Below so many training rows one validation split is too noisy, and trials are cross-validated."""

FOLDS, REPEATS = 3, 2
"""Folds of the cross-validation, and how often it is done, each time with other folds."""

MOST_TRAININGS = 20


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks of a search.

    Attributes:
        model: folder, hub name or GGUF file.
        data: file, folder or hub name.
        metric: one of the task's metrics, or ``package.module:function``.
        folds: None chooses by the number of rows.
        repeats: of the cross-validation, each time with other folds; None repeats it once.
        max_trainable: most trained parameters, as users write it: ``5M`` or ``1%``; wins over the constraints'.
        tokens: budget of a full trial; None sizes it from the time.
        spaces: folder of search-space files to use in place of the project's own.
        teach: keep the trials in the user's own store of measured runs.
        objectives: what a good configuration is judged by; quality is always among them.
        general_text: file of the user's own to measure forgetting on, one text per line.
    """

    model: str
    data: str
    task: Task | None = None
    columns: Mapping[str, str] | None = None
    metric: str | None = None
    token_limit: int | None = None
    class_weights: bool = False
    folds: int | None = None
    repeats: int | None = None
    tokens: int | None = None
    seed: int = 0
    constraints: Constraints = field(default_factory=Constraints)
    max_trainable: str | None = None
    spaces: Path | None = None
    teach: bool = True
    objectives: tuple[str, ...] = ("quality",)
    general_text: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A search ready to start.

    Attributes:
        encoded: the tokenised splits.
        parts: what each trial trains and validates on: one pair per fold, or the plain split.
        rows: of all of them; they are kept for the next run once it is told to save.
        starts: the candidates tried first, in order.
        objectives: what a good configuration is judged by, quality first.
        texts: general text to measure forgetting on, where that is one of them.
    """

    hardware: HardwareProfile
    model: ModelProfile
    task: TaskProfile
    data: Data
    encoded: EncodedData
    parts: tuple[EncodedData, ...]
    rows: RowCache
    objective: Objective
    recommendation: Recommendation
    starts: tuple[Candidate, ...]
    proposal: Proposal
    memory_bytes: int
    max_trainable: int | None
    seed: int
    notes: tuple[str, ...]
    objectives: tuple[Criterion, ...] = ("quality",)
    texts: tuple[str, ...] = ()

    def obstacles(self, candidate: Candidate) -> list[str]:
        """Returns why a candidate cannot run here: what its method refuses, and what it needs beyond the limits."""
        setup = Setup(model=self.model, task=self.model.task, candidate=candidate)
        return obstacles(setup, self.task.tokens.longest, self.hardware, self.memory_bytes, self.max_trainable)

    def memory_of(self, candidate: Candidate) -> tuple[int, EstimateSource]:
        """Returns the bytes that a candidate is estimated to need, context included, and by what: formula or trace."""
        setup = Setup(model=self.model, task=self.model.task, candidate=candidate)
        cost, how = _weighed(setup, self.task.tokens.longest, self.hardware, self.memory_bytes)
        return cost.memory.total_bytes, how

    def worker(self) -> Worker:
        """Returns what holds the base model; it is loaded when the first run asks for it."""
        return Worker(
            self.model,
            self.hardware,
            head_seed=self.seed,
            label_names=self.data.spec.labels,
            class_weights=self.data.spec.class_weights,
        )

    def starting_from(self, starts: tuple[Candidate, ...], spaces: Path | None) -> "Prepared":
        """Returns the same search with the candidates that its study began with: advice changes as trials teach it."""
        return replace(self, starts=starts, proposal=proposal(starts, self.model.layers, spaces)) if starts else self

    def identity(self, request: Request) -> dict[str, Any]:
        """Returns what makes this search this search, for the check when it is resumed."""
        asked: dict[str, Any] = {}
        if self.objectives != ("quality",):
            asked["objectives"] = list(self.objectives)
        if self.texts:
            asked["general_text"] = _hash(self.texts)
        if self.model.own_code:
            asked["own_code"] = True
        return {
            **asked,
            "model": self.model.fingerprint,
            "task": self.model.task,
            "data": _fingerprint(self.data),
            "metric": self.objective.name,
            "methods": sorted(request.constraints.methods) or ["recommended"],
            "exclude": sorted(request.constraints.exclude),
            "trainings": len(self.parts),
            "seed": request.seed,
            "class_weights": request.class_weights,
        }


def obstacles(
    setup: Setup, tokens_per_row: int, hardware: HardwareProfile, memory_bytes: int, max_trainable: int | None
) -> list[str]:
    """Returns why a candidate cannot run: what its method refuses, and what it needs beyond the limits."""
    problems = list(get_method(setup.candidate.method).violations(setup))
    if problems:
        return problems
    cost, _ = _weighed(setup, tokens_per_row, hardware, memory_bytes)
    needed = cost.memory.total_bytes
    if needed > memory_bytes:
        problems.append(f"It is estimated to need {format_bytes(needed)}; there are {format_bytes(memory_bytes)}.")
    if max_trainable is not None and cost.trainable_parameters > max_trainable:
        problems.append(f"It trains {cost.trainable_parameters:,} parameters; the limit is {max_trainable:,}.")
    return problems


def _weighed(
    setup: Setup, tokens_per_row: int, hardware: HardwareProfile, memory_bytes: int
) -> tuple[Estimate, EstimateSource]:
    """Returns the estimate by formula where it is far from the limit, and by trace where that decides."""
    cost = draft(setup, tokens_per_row=tokens_per_row, hardware=hardware)
    if not near(cost, memory_bytes):
        return cost, "formula"
    return estimate(setup, tokens_per_row=tokens_per_row, hardware=hardware), "trace"


def prepare(request: Request, folder: Path | None = None) -> Prepared:
    """Returns a search ready to start: everything that can be wrong with the request is found here.

    Args:
        request: what to search for.
        folder: where encoded rows are kept; nothing is written to it here.

    Raises:
        AutopeftError: bad data, model, metric, method or GPU name; or nothing fits.
    """
    objectives = check_objectives(request.objectives)
    texts = general_texts(request.general_text) if "forgetting" in objectives else ()
    hardware = probe_hardware()
    _check_folds(request)
    data = load_data(
        request.data,
        task=request.task,
        columns=request.columns,
        metric=request.metric,
        token_limit=request.token_limit,
        seed=request.seed,
    )
    if request.class_weights:
        data = replace(data, spec=replace(data.spec, class_weights=_weights(data)))
    model = read_model(request.model, data.spec.task, max(1, len(data.spec.labels)))
    tokenizer = load_tokenizer(request.model)
    task = describe_task(data, tokenizer)
    constraints = _constraints(request, model)
    recommendation = recommend(hardware, model, task, constraints, traced=0)
    setting = setting_of(hardware, model, task, constraints)
    starts = starting_candidates(recommendation, setting, limit=None if request.constraints.methods else METHODS_TRIED)
    limit = constraints.memory_bytes or hardware.device.free_memory_bytes
    proposed = proposal(starts, model.layers, request.spaces)
    longest = token_limit(data.spec, tokenizer)
    rows = row_cache(folder, data.spec, tokenizer, model.kind, longest) if folder else RowCache()
    encoded = encode(data, tokenizer, model.kind, rows)
    parts = tuple(encode(part, tokenizer, model.kind, rows) for part in _parts(data, request)) or (encoded,)
    return Prepared(
        hardware=hardware,
        model=model,
        task=task,
        data=data,
        encoded=encoded,
        parts=parts,
        rows=rows,
        objective=objective(data),
        recommendation=recommendation,
        starts=starts,
        proposal=proposed,
        memory_bytes=limit,
        max_trainable=constraints.max_trainable,
        objectives=objectives,
        texts=texts,
        seed=request.seed,
        notes=(*hardware.notes, *model.notes, *task.notes, *_cut(encoded), *proposed.moved()),
    )


def _constraints(request: Request, model: ModelProfile) -> Constraints:
    if request.max_trainable is None:
        return request.constraints
    return replace(request.constraints, max_trainable=parse_budget(request.max_trainable, model.parameters))


def _weights(data: Data) -> tuple[float, ...]:
    if not data.spec.labels:
        raise invalid("--class-weights", "a search", "left out for a task without labels", data.spec.task)
    return class_weights(data)


def _cut(encoded: EncodedData) -> tuple[str, ...]:
    if not encoded.truncated:
        return ()
    return (f"{encoded.truncated} rows are longer than {encoded.spec.token_limit} tokens and were cut there.",)


def _fingerprint(data: Data) -> str:
    """Returns a hash of all rows by split: the same data gives the same one wherever its file lies."""
    return _hash(plain(data.rows))


def _hash(content: Any) -> str:
    import hashlib

    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_folds(request: Request) -> None:
    count, repeats = request.folds, request.repeats
    if repeats is not None and repeats < 1:
        raise invalid("repeats", "a search", "at least 1", repeats)
    if count is None or count == 1:
        return
    if count < 1 or count * (repeats or REPEATS) > MOST_TRAININGS:
        expected = f"at least 1, and with its {repeats or REPEATS} repeats at most {MOST_TRAININGS} trainings per trial"
        raise invalid("folds", "a search", expected, count)


def _parts(data: Data, request: Request) -> list[Data]:
    """Returns the folds of a repeated cross-validation, or nothing where the plain split is large enough."""
    count = request.folds
    if count is None:
        count = FOLDS if len(data.rows["train"]) < FOLDED_BELOW else 1
    if count == 1:
        return []
    repeats = range(request.repeats or REPEATS)
    return [part for repeat in repeats for part in folds(data, count, request.seed + repeat)]


def starting_candidates(recommendation: Recommendation, setting: Setting, limit: int | None) -> tuple[Candidate, ...]:
    """Returns the first candidate of each recommended method that fits, by score, kin of those before set back.

    Rules are a prior. Within a family methods behave alike, so a short search learns less from one more of them.
    """
    first: dict[str, Suggestion] = {}
    for suggestion in recommendation.candidates:
        if suggestion.fits:
            first.setdefault(suggestion.candidate.method, suggestion)
    if not first:
        raise NothingFitsError("None of the recommended candidates fits the memory there is.")
    chosen: list[Candidate] = []
    kin: Counter[str] = Counter()
    while first and (limit is None or len(chosen) < limit):
        name = max(first, key=lambda name: first[name].score - KIN * kin[get_method(name).family])
        suggestion = settled(first.pop(name), setting)
        if suggestion.fits:
            chosen.append(suggestion.candidate)
            kin[get_method(name).family] += 1
    if not chosen:
        raise NothingFitsError("None of the recommended candidates fits the memory there is, once it is traced.")
    return tuple(chosen)


def _own_metric(name: str) -> Metric:
    return partial(_applied, load_metric(name))


def _applied(function: UserMetric, predictions: Predictions) -> float:
    return float(function(predictions.predicted, predictions.expected))


def objective(data: Data) -> Objective:
    """Returns the metric that decides, and the others of the task beside it."""
    task = get_task(data.spec.task)
    name = data.spec.metric
    if ":" in name:
        return Objective(name=name, metrics={**task.metrics, name: _own_metric(name)}, lower_is_better=False)
    return Objective(name=name, metrics=task.metrics, lower_is_better=name in task.lower_is_better)
