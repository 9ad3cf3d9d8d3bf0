"""Everything a search needs before its first trial: profiles, data, objective, and the candidates to start from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from autopeft.data import (
    Data,
    EncodedData,
    RowCache,
    class_weights,
    encode,
    load_data,
    row_cache,
    token_limit,
)
from autopeft.errors import invalid
from autopeft.files import plain
from autopeft.methods import get_method
from autopeft.profiling.hardware import among_freest, probe_hardware
from autopeft.profiling.model import read_model
from autopeft.profiling.task import describe_task
from autopeft.profiling.tokenizer import load_tokenizer
from autopeft.profiling.usable import check_usable
from autopeft.recommend import recommend
from autopeft.recommend.budget import parse_budget
from autopeft.recommend.plans import smaller_schemes
from autopeft.recommend.setting import setting_of
from autopeft.training.forgetting import general_texts
from autopeft.training.parallel import ALONE, Parallel
from autopeft.training.scoring import Objective
from autopeft.training.worker import Worker
from autopeft.tuning.feasible import obstacles, weighed
from autopeft.tuning.folding import check_folds, parts_of
from autopeft.tuning.guide import Guide
from autopeft.tuning.objective import objective
from autopeft.tuning.pareto import check_objectives
from autopeft.tuning.proposal import Proposal, proposal
from autopeft.tuning.selection import METHODS_TRIED, starting_candidates
from autopeft.tuning.teams import check_team
from autopeft.values.candidates import ONE_DEVICE, Candidate, Constraints, Recommendation, Setup, Team
from autopeft.values.names import Criterion, EstimateSource, ModelKind, Task
from autopeft.values.profiles import HardwareProfile, ModelProfile, TaskProfile


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
        team: the devices that train each trial together.
        trial_tokens: that a full trial trains on, per fold; None before that is settled.
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
    team: Team = ONE_DEVICE
    trial_tokens: int | None = None

    def setup(self, candidate: Candidate) -> Setup:
        """Returns a candidate with what it meets here, and the steps of a full trial where its length is settled."""
        setup = Setup(model=self.model, task=self.model.task, candidate=candidate)
        if self.trial_tokens is None:
            return setup
        step = candidate.batch_size * candidate.accumulation * fmean(self.parts[0]["train"].lengths)
        # Rounded down: batches of longer rows come to fewer steps, and a method that needs more ends the search.
        return replace(setup, total_steps=max(1, int(self.trial_tokens / step)))

    def obstacles(self, candidate: Candidate) -> list[str]:
        """Returns why a candidate cannot run here: what its method refuses, and what it needs beyond the limits."""
        setup, longest = self.setup(candidate), self.task.tokens.longest
        return obstacles(setup, longest, self.hardware, self.memory_bytes, self.max_trainable, self.team)

    def memory_of(self, candidate: Candidate) -> tuple[int, EstimateSource]:
        """Returns the bytes that a candidate is estimated to need, context included, and by what: formula or trace."""
        cost, how = weighed(
            self.setup(candidate), self.task.tokens.longest, self.hardware, self.memory_bytes, self.team
        )
        return cost.memory.total_bytes, how

    def on_device(self, rank: int) -> "Prepared":
        """Returns the same search as one of the processes that train together sees it: with its own device."""
        if self.hardware.device.kind == "cpu":
            return self
        device = replace(self.hardware.devices[rank], index=rank)
        return replace(self, hardware=replace(self.hardware, devices=(device,), selected=0))

    def worker(self, parallel: Parallel = ALONE) -> Worker:
        """Returns what holds the base model; it is loaded when the first run asks for it."""
        return Worker(
            self.model,
            self.hardware,
            head_seed=self.seed,
            label_names=self.data.spec.labels,
            class_weights=self.data.spec.class_weights,
            parallel=parallel,
        )

    def starting_from(self, starts: tuple[Candidate, ...], spaces: Path | None) -> "Prepared":
        """Returns the same search with the candidates that its study began with: advice changes as trials teach it."""
        if not starts:
            return self
        proposed = _proposed(starts, self.model, spaces, self.hardware, self.objectives, self.team)
        return replace(self, starts=starts, proposal=proposed)

    def guided(self, tokens: int) -> "Prepared":
        """Returns the same search with draws judged before they are tried, as trials of so many tokens."""
        guide = Guide(model=self.model, task=self.task, tokens=tokens)
        return self.settled(self.starts, replace(self.proposal, guide=guide), tokens)

    def settled(self, starts: tuple[Candidate, ...], proposal: Proposal, tokens: int) -> "Prepared":
        """Returns the same search as it begins: with these starts and spaces, and so many tokens of a full trial."""
        return replace(self, starts=starts, proposal=proposal, trial_tokens=tokens)

    @property
    def searched(self) -> dict[str, str]:
        """A hash of the space that is searched for each method."""
        return {name: _hash(plain(space)) for name, space in self.proposal.spaces.items()}

    def identity(self, request: Request) -> dict[str, Any]:
        """Returns what makes this search this search, for the check when it is resumed."""
        asked: dict[str, Any] = {}
        if self.objectives != ("quality",):
            asked["objectives"] = list(self.objectives)
        if self.texts:
            asked["general_text"] = _hash(self.texts)
        if not self.team.alone:
            asked["team"] = f"{self.team.strategy} on {self.team.devices} devices"
        if self.model.own_code:
            asked["own_code"] = True
        if request.token_limit is not None:
            asked["token_limit"] = request.token_limit
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


def prepare(request: Request, folder: Path | None = None, *, processes: int = 1) -> Prepared:
    """Returns a search ready to start: everything that can be wrong with the request is found here.

    Args:
        request: what to search for.
        folder: where encoded rows are kept; nothing is written to it here.
        processes: that train at once on this machine, each on a GPU where it has some.

    Raises:
        AutopeftError: bad data, model, metric, method or GPU name; torch cannot use the GPU; or nothing fits.
    """
    objectives = check_objectives(request.objectives)
    texts = _texts(request.general_text, objectives)
    hardware = among_freest(probe_hardware(), max(processes, request.constraints.team.devices))
    check_usable(hardware.device)
    check_team(request.constraints.team, hardware, objectives)
    check_folds(request.folds, request.repeats)
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
    rows = _row_cache(data, tokenizer, model.kind, folder)
    encoded = encode(data, tokenizer, model.kind, rows)
    task = describe_task(data, tokenizer, encoded)
    constraints = _constraints(request, model, hardware)
    recommendation = recommend(hardware, model, task, constraints, traced=0)
    setting = setting_of(hardware, model, task, constraints)
    starts = starting_candidates(recommendation, setting, limit=None if request.constraints.methods else METHODS_TRIED)
    limit = constraints.memory_bytes or hardware.device.free_memory_bytes
    proposed = _proposed(starts, model, request.spaces, hardware, objectives, constraints.team)
    folded = parts_of(data, request.folds, request.repeats, request.seed)
    parts = tuple(encode(part, tokenizer, model.kind, rows) for part in folded) or (encoded,)
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
        team=constraints.team,
        seed=request.seed,
        notes=(*hardware.notes, *model.notes, *task.notes, *_cut(encoded), *proposed.moved()),
    )


def _proposed(
    starts: Sequence[Candidate], model: ModelProfile, spaces: Path | None, hardware: HardwareProfile,
    objectives: Sequence[Criterion], team: Team,
) -> Proposal:  # fmt: skip
    """Returns the spaces to search around the starts; where memory is an objective, with smaller bases than theirs.

    A base that is smaller than it has to be costs quality, and one that trials share between them is loaded anew for
    each that stores it otherwise: where quality alone counts the recommender's choice stands.
    """

    def stored(start: Candidate) -> tuple[str, ...]:
        if "memory" not in objectives or not team.alone:  # what is shared out cannot be quantized
            return (start.quantization,)
        return smaller_schemes(get_method(start.method), hardware.device, start.quantization)

    return proposal(starts, model.layers, spaces, gradients=team.alone, stored=stored)


def _row_cache(data: Data, tokenizer: Any, kind: ModelKind, folder: Path | None) -> RowCache:
    if folder is None:
        return RowCache()
    return row_cache(folder, data.spec, tokenizer, kind, token_limit(data.spec, tokenizer))


def _texts(path: Path | None, objectives: Sequence[Criterion]) -> tuple[str, ...]:
    """Returns the general text that forgetting is measured on, nothing where it is not measured."""
    if "forgetting" in objectives:
        return general_texts(path)
    if path is not None:
        advice = "Add forgetting to --objective, such as quality,forgetting."
        raise invalid("--general-text", "a search", "left out where forgetting is no objective", str(path), advice)
    return ()


def _constraints(request: Request, model: ModelProfile, hardware: HardwareProfile) -> Constraints:
    found = request.constraints
    if request.max_trainable is not None:
        found = replace(found, max_trainable=parse_budget(request.max_trainable, model.parameters))
    if found.team.alone or hardware.device.kind != "cpu":
        return found
    # Processes on one processor share its memory.
    memory = found.memory_bytes or hardware.device.free_memory_bytes
    return replace(found, memory_bytes=memory // found.team.devices)


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
