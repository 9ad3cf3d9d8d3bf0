"""From what a user names (a model, data or a description, a device) to a recommendation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from autopeft.errors import invalid, unknown
from autopeft.recommend._evidence_store import Kept, kept
from autopeft.recommend.needs import task_needs
from autopeft.recommend.objectives import parse_objectives, preferred
from autopeft.recommend.recommender import recommend
from autopeft.recommend.serving import check_server
from autopeft.values.candidates import Constraints, Recommendation
from autopeft.values.names import TASKS, Task
from autopeft.values.profiles import HardwareProfile, ModelProfile, TaskProfile


@dataclass(frozen=True, kw_only=True)
class Profiles:
    """What a recommendation rests on.

    Attributes:
        notes: what was assumed because the user did not say it.
    """

    hardware: HardwareProfile
    model: ModelProfile
    task: TaskProfile
    notes: tuple[str, ...] = ()


def suggest(
    model: str,
    data: str | None = None,
    *,
    task: str | None = None,
    rows: int | None = None,
    tokens_per_row: int | None = None,
    columns: Mapping[str, str] | None = None,
    gpu: str | None = None,
    memory_bytes: int | None = None,
    constraints: Constraints = Constraints(),  # noqa: B008 - frozen
    objective: str | None = None,
    own_evidence: bool = True,
) -> Recommendation:
    """Returns ranked candidates for a model and a task, without training anything.

    Args:
        model: a folder (``config.json`` is enough), a hub name or a GGUF file.
        data: a file, a folder or a hub name; without it ``task`` must be given.
        task: one of the task types; read off the data where it is not given.
        rows: training rows, when there is no data; typical of the task type where it is not given.
        tokens_per_row: tokens per row, when there is no data; likewise.
        columns: the data's column by role.
        gpu: a card from the catalogue instead of this machine's.
        memory_bytes: memory of the device planned for, all of which may be used.
        constraints: what a candidate must meet.
        objective: such as ``quality=1,memory=0.3``, which weighs, or ``quality,memory`` for the Pareto set first.
        own_evidence: whether the measured runs of your own searches correct the predictions.

    Raises:
        AutopeftError: the model, the data, the card or a constraint is not what it should be.
        NothingFitsError: no method meets the constraints.
    """
    profiles = collect_profiles(
        model, data, task=task, rows=rows, tokens_per_row=tokens_per_row, columns=columns, gpu=gpu,
        memory_bytes=memory_bytes,
    )  # fmt: skip
    if memory_bytes is not None and constraints.memory_bytes is None:
        constraints = replace(constraints, memory_bytes=memory_bytes)
    asked = None if objective is None else parse_objectives(objective)
    found = recommend_for(profiles, constraints, own_evidence=own_evidence)
    return found if asked is None else preferred(found, asked)


def recommend_for(profiles: Profiles, constraints: Constraints, *, own_evidence: bool = True) -> Recommendation:
    """Returns the recommendation for profiles that are known, with what was assumed among its notes.

    The user's own measured runs correct it, unless they are to be left out.
    """
    if constraints.server is not None:
        check_server(constraints.server)
    own = kept() if own_evidence else Kept()
    hardware, model, task = profiles.hardware, profiles.model, profiles.task
    found = recommend(hardware, model, task, constraints, own=own.runs)
    assumed = (*profiles.notes, *hardware.notes, *model.notes, *task.notes)
    return Recommendation(
        candidates=found.candidates,
        rejected=found.rejected,
        notes=(*assumed, *found.notes, *own.complaints),
    )


def collect_profiles(
    model: str,
    data: str | None,
    *,
    task: str | None,
    rows: int | None,
    tokens_per_row: int | None,
    columns: Mapping[str, str] | None,
    gpu: str | None,
    memory_bytes: int | None,
) -> Profiles:
    """Returns the device, the model and the task that a recommendation is for; see `suggest`."""
    from autopeft.profiling import profile

    named = _task_name(task)
    if data is None:
        if columns:
            raise invalid("--column", "a suggestion without data", "left out", dict(columns), "Or give --data.")
        return _described(model, named, rows, tokens_per_row, gpu, memory_bytes)
    for key, value in (("--rows", rows), ("--tokens-per-row", tokens_per_row)):
        if value is not None:
            raise invalid(key, "a suggestion", "left out where there is data, which says it", value)
    found = profile(model, data, task=named, columns=columns, gpu=gpu, memory_bytes=memory_bytes)
    if found.model is None or found.task is None:
        raise TypeError("A profile of a model and data has both: a defect of the profiling.")
    return Profiles(hardware=found.hardware, model=found.model, task=found.task)


def _task_name(task: str | None) -> Task | None:
    for name in TASKS:
        if name == task:
            return name
    if task is None:
        return None
    raise unknown("--task", "a suggestion", task, TASKS)


def _described(
    model: str,
    task: Task | None,
    rows: int | None,
    tokens_per_row: int | None,
    gpu: str | None,
    memory_bytes: int | None,
) -> Profiles:
    from autopeft.profiling.hardware import probe_hardware
    from autopeft.profiling.model import read_model
    from autopeft.profiling.task import described_task

    if task is None:
        raise invalid("--task", "a suggestion without data", f"one of {', '.join(TASKS)}", task, "Or give --data.")
    hardware = probe_hardware(gpu=gpu, memory_bytes=memory_bytes)
    needs, notes = task_needs(task), []
    if rows is None:
        notes.append(f"{needs.typical_rows:,} training rows are assumed, which is typical; --rows says how many.")
    if tokens_per_row is None:
        typical = needs.typical_tokens_per_row
        notes.append(f"Rows of {typical} tokens are assumed, which is typical; --tokens-per-row says how many.")
    described = described_task(
        task,
        rows=needs.typical_rows if rows is None else rows,
        tokens_per_row=needs.typical_tokens_per_row if tokens_per_row is None else tokens_per_row,
    )
    return Profiles(hardware=hardware, model=read_model(model, task), task=described, notes=tuple(notes))
