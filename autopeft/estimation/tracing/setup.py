"""From a setup to its trace: from memory, from disk, or by running it on the meta device."""

import sys
from dataclasses import asdict, replace
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from autopeft.errors import AutopeftError, InvalidValueError, ModelError
from autopeft.estimation.collector import uncollected
from autopeft.estimation.memory import trained_parameters
from autopeft.estimation.practice import OWN, Practice
from autopeft.estimation.trace import Trace
from autopeft.estimation.tracing.depth import DepthPlan, plan_depth
from autopeft.estimation.tracing.recording import Recording
from autopeft.estimation.tracing.store import Kept, key_of, load, path_of, save
from autopeft.estimation.tracing.unfold import Rows, UnlikeLayersError, unfold
from autopeft.methods import get_method, is_own
from autopeft.methods._targets import selected_layers
from autopeft.profiling.cache import is_there
from autopeft.profiling.source import find_model
from autopeft.values.candidates import Setup
from autopeft.values.profiles import Device

if TYPE_CHECKING:
    from autopeft.estimation.tracing.steps import Recorded

STAND_IN_ROWS = 104729
"""Rows of the batch that stands for any of two and more: a prime, so that what it divides scales with rows."""

_MOST_KEPT = 64
"""Recordings held in memory."""


class UntraceableError(AutopeftError):
    """A setup cannot be run on the meta device; the message says why."""


def trace_setup(
    setup: Setup,
    tokens_per_row: int,
    device: Device,
    *,
    evaluation_rows: int | None = None,
    padded: bool | None = None,
    practice: Practice = OWN,
) -> Trace:
    """Returns what a training run does to memory from loading to evaluation, and what its steps compute.

    Args:
        setup: model, task and candidate.
        tokens_per_row: length of every row.
        device: planned for: its kind and compute capability decide which attention kernels run.
        evaluation_rows: rows per batch of evaluation; where None, evaluation is left out.
        padded: whether rows differ in length, so that attention needs a mask; where None, a batch of one is not
            padded and a larger one is. Packed texts have none.
        practice: how the code that trains goes about a step. Where its own way makes a batch more than so many rows,
            evaluation is of as many as training.

    Raises:
        UntraceableError: the model or the method does not run without numbers; the message says why.
        InvalidValueError: the candidate asks for what does not go together, such as an optimizer of pairs where none
            train: no model was needed to see it, and none would mend it.
    """
    rows = setup.candidate.batch_size
    kept = _kept(_Request(setup, tokens_per_row, device, padded=padded, practice=practice))
    if kept.recording is None:
        raise UntraceableError(" ".join(kept.notes))
    method = get_method(setup.candidate.method)
    trained = method.trainable(setup)
    with uncollected():
        trace = unfold(
            kept.recording,
            kept.plan,
            Rows(training=rows, evaluation=evaluation_rows or rows),
            trainable=trained_parameters(setup, trained),
            total=setup.model.parameters + (0 if method.capabilities.trains_base else trained),
            notes=kept.notes,
        )
        return trace if evaluation_rows is not None else training_part(trace)


def trace_key(setup: Setup, tokens_per_row: int, device: Device, practice: Practice = OWN) -> str:
    """Returns the name of the recording that `trace_setup` makes its trace of."""
    return _Request(setup, tokens_per_row, device, practice=practice).key


def is_traced(setup: Setup, tokens_per_row: int, device: Device) -> bool:
    """Returns whether the recording that `trace_setup` would make is on disk, or that none can be made."""
    return is_there(path_of(trace_key(setup, tokens_per_row, device)))


def training_part(trace: Trace) -> Trace:
    """Returns the trace up to where evaluation starts."""
    phases = tuple(phase for phase in trace.phases if phase.name != "evaluation")
    if len(phases) == len(trace.phases):
        return trace
    end = trace.phases[len(phases)].start
    return replace(trace, phases=phases, blocks=tuple(block for block in trace.blocks if block.begin < end))


class _Request:
    """What decides a recording: equal ones have equal keys."""

    def __init__(
        self, setup: Setup, tokens: int, device: Device, *, padded: bool | None = None, practice: Practice = OWN
    ) -> None:
        self.setup, self.tokens, self.device, self.practice = setup, tokens, device, practice
        rows = setup.candidate.batch_size
        # What tells packed texts apart is asked of their positions as padding is of a mask: "is it all one?"
        self.padded = practice.packing or (rows > 1 if padded is None else padded)
        self.rows = STAND_IN_ROWS if practice.proportional and rows > 1 else rows
        self.flash, self.efficient = _kernels(device)
        candidate = asdict(setup.candidate)
        candidate["accumulation"] = min(setup.candidate.accumulation, 2)
        for free in ("batch_size", "learning_rate"):
            del candidate[free]
        model = setup.model
        self.key = key_of(
            {
                "model": model.fingerprint, "task": setup.task, "labels": model.labels, "candidate": candidate,
                "tokens": tokens, "padded": padded, "rows": self.rows, "kind": device.kind,
                "kernels": (self.flash, self.efficient), "practice": asdict(practice),
                "code": _code(setup.candidate.method),
            }
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Request) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def _kernels(device: Device) -> tuple[bool, bool]:
    """Returns whether the flash and the memory-efficient attention kernels run on a device."""
    if device.kind == "rocm":
        return True, True
    if device.kind != "cuda":
        return False, False
    capability = float(device.compute_capability or 8.0)
    return capability >= 8.0, capability >= 5.0


@cache
def _code(method: str) -> str:
    """Returns a digest of a user's own method, whose code may be another the next time.

    It is of its module and those beside it, which it may be made of.
    """
    if not is_own(method):
        return ""
    get_method(method)  # imports it
    file = sys.modules[method].__file__
    beside = sorted(Path(file).parent.glob("*.py")) if file else ()
    return sha256(b"".join(module.read_bytes() for module in beside)).hexdigest()


@lru_cache(maxsize=_MOST_KEPT)
def _kept(request: _Request) -> Kept:
    found = load(request.key)
    if found is None:
        found = _traced(request)
        # A failure of one's own method may be mended in a library that it uses, which is not looked at.
        if found.recording is not None or not is_own(request.setup.candidate.method):
            save(request.key, found)
    return found


def _traced(request: _Request) -> Kept:
    setup = request.setup
    try:
        find_model(setup.model.source)
    except ModelError as error:  # not kept: it may be there the next time
        raise UntraceableError(f"{setup.model.source} has no config to build the model from.") from error
    whole, method = DepthPlan(kept=tuple(range(setup.model.layers)), runs=()), get_method(setup.candidate.method)
    if not method.traceable:
        said = f"{method.title} is made of the weights' values, which a trace of shapes does not have."
        return Kept(recording=None, plan=whole, notes=(said,))
    plan = depth_plan(setup) if method.layers_alike else whole
    for attempt in (plan, whole) if plan.runs else (whole,):
        try:
            return _attempt(request, attempt)
        except InvalidValueError:
            raise
        except _FAILURES as error:
            failure = error
    # Kept too: what fails once fails again with the same versions, and importing them to learn that takes seconds.
    lines = str(failure).strip().splitlines()
    why = f"{type(failure).__name__}: {lines[0][:_LONGEST_REASON]}" if lines else type(failure).__name__
    return Kept(recording=None, plan=whole, notes=(f"{setup.model.architecture} could not be traced ({why}).",))


_LONGEST_REASON = 160
"""Characters of a library's own words that are repeated; torch lists every backend it has."""

_FAILURES = (
    AutopeftError, UnlikeLayersError, RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError,
    KeyError, IndexError, AssertionError,
)  # fmt: skip
"""What architectures and libraries raise where they need numbers: each its own, so none can be left out."""


def _attempt(request: _Request, plan: DepthPlan) -> Kept:
    """Returns the recording of a plan's layers.

    Raises:
        UnlikeLayersError: it does not unfold to the whole model's.
    """
    recorded = _run(request, plan)
    if plan.runs:
        once_more = _unfolded(recorded.recording, plan.repeating_once())
        if recorded.entangled or recorded.asked:
            # One unit more, traced and unfolded, must come to the same.
            longer = plan.with_one_more()
            if once_more != _unfolded(_run(request, longer).recording, longer):
                raise UnlikeLayersError("One more layer does not add what the others suggest.")
    notes = (_ASKED,) if recorded.asked else ()
    return Kept(recording=recorded.recording, plan=plan, notes=notes)


_ASKED = "The model asks for numbers on its way; it was traced as if scalars were 0 and masks were full."


def _run(request: _Request, plan: DepthPlan) -> "Recorded":
    from autopeft.estimation.tracing.attention import Kernels
    from autopeft.estimation.tracing.build import network
    from autopeft.estimation.tracing.steps import Batch, record

    device = request.device
    built = network(request.setup, plan.kept, on_cpu=device.kind == "cpu", attention=request.practice.attention)
    kernels = Kernels(device=device.kind, flash=request.flash, efficient=request.efficient)
    batch = Batch(rows=request.rows, tokens=request.tokens, padded=request.padded, practice=request.practice)
    return record(built, batch, kernels)


def _unfolded(recording: Recording, plan: DepthPlan) -> Trace:
    return unfold(recording, plan, Rows(training=2, evaluation=2), trainable=0, total=0)


def depth_plan(setup: Setup) -> DepthPlan:
    """Returns which layers of a setup's model have to be traced: those do the same that are alike, and chosen alike."""
    from autopeft.estimation.tracing.layers import layer_kinds, layer_shapes

    model = setup.model
    chosen = selected_layers(model, setup.candidate)
    kinds = layer_kinds(setup)
    likeness = [(layer_shapes(model.modules, index), kinds[index], index in chosen) for index in range(model.layers)]
    return plan_depth(likeness, trained=min(chosen, default=0))
