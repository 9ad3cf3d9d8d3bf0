"""The seam: one function from a setup to its expected cost."""

from dataclasses import replace

from autopeft.estimation.activations import activation_bytes, scoring_bytes
from autopeft.estimation.calibration import corrected, correction
from autopeft.estimation.collector import uncollected
from autopeft.estimation.kept import estimate_path
from autopeft.estimation.memory import memory_estimate, trained_parameters
from autopeft.estimation.observations import card_name, stack_versions
from autopeft.estimation.practice import OWN, Practice
from autopeft.estimation.roofline import trace_seconds
from autopeft.estimation.speed import step_seconds
from autopeft.estimation.trace import Trace
from autopeft.estimation.trace_memory import trace_memory
from autopeft.estimation.tracing.setup import UntraceableError, is_traced, trace_setup, training_part
from autopeft.methods import Method, get_method
from autopeft.profiling.cache import is_there, load_value, save_value
from autopeft.profiling.sizes import format_bytes
from autopeft.values.candidates import Estimate, MemoryEstimate, Setup, rows_at_once
from autopeft.values.profiles import Device, HardwareProfile

BOUND = 1.5
"""What the formula's activations are multiplied by where it stands in for a trace.

It lies within 15 % of what plain architectures keep; what cannot be traced may keep more.
"""


def estimate(setup: Setup, *, tokens_per_row: int, hardware: HardwareProfile, practice: Practice = OWN) -> Estimate:
    """Returns the peak memory and the seconds per optimizer step that a setup is expected to cost.

    Two steps of training and the scoring of as many rows as are scored at once are traced on the meta device: where
    scoring takes more, it is the peak. Generating is covered by it: a pass over whole rows fills the same key-value
    cache, and gives logits for every position where generation gives them for one. A setup that cannot be traced gets
    an upper bound by formula, and its notes say so. What real runs took on the same card and stack corrects either.
    Parameters are counted once; the fresh task head counts as trained.

    Args:
        setup: model, task and candidate.
        tokens_per_row: length of the rows of the longest batch, special tokens included; what a method
            itself puts into the sequence comes on top.
        hardware: the device planned for, for its context, its allocator and its throughput.
        practice: how the code that trains goes about a step, where it is not autopeft's own.

    Raises:
        InvalidValueError: the candidate names a method, a quantization or an optimizer that is not known, or its
            optimizer does not suit what trains.
    """
    with uncollected():
        found = uncorrected(setup, tokens_per_row=tokens_per_row, hardware=hardware, practice=practice)
    return corrected(found, correction(card_name(hardware.device), stack_versions()))


def is_kept(setup: Setup, *, tokens_per_row: int, hardware: HardwareProfile) -> bool:
    """Returns whether nothing has to be traced for `estimate`: its answer, or the recording for it, is on disk."""
    setup, device = _lowest(setup), hardware.device
    path = estimate_path(setup, tokens_per_row, evaluation_rows(setup, device), device)
    return is_there(path) or is_traced(setup, tokens_per_row, device)


def uncorrected(setup: Setup, *, tokens_per_row: int, hardware: HardwareProfile, practice: Practice = OWN) -> Estimate:
    """Returns `estimate` as it is before measured runs correct it: what they are measured against.

    Raises:
        InvalidValueError: as `estimate`.
    """
    setup, device = _lowest(setup), hardware.device
    path = estimate_path(setup, tokens_per_row, evaluation_rows(setup, device, practice), device, practice)
    kept = load_value(path, Estimate)
    if kept is not None:
        return kept
    try:
        found = _traced(setup, tokens_per_row, device, practice)
    except UntraceableError as error:
        bound = draft(setup, tokens_per_row=tokens_per_row, hardware=hardware, generosity=BOUND)
        note = f"{error} Memory is an upper bound by formula, everything counted as alive at once."
        return replace(bound, notes=(note,))
    save_value(path, found)
    return found


def _traced(setup: Setup, tokens_per_row: int, device: Device, practice: Practice) -> Estimate:
    rows = evaluation_rows(setup, device, practice)
    trace = trace_setup(setup, tokens_per_row, device, evaluation_rows=rows, practice=practice)
    memory = trace_memory(trace, device)
    step = trace_seconds(trace.operations, device, accumulation=setup.candidate.accumulation)
    return Estimate(
        memory=memory,
        step_seconds=None if step is None else step.seconds,
        step_seconds_low=None if step is None else step.low,
        step_seconds_high=None if step is None else step.high,
        step_seconds_by_class={} if step is None else {str(name): seconds for name, seconds in step.by_class.items()},
        trainable_parameters=trace.trainable_parameters,
        total_parameters=trace.total_parameters,
        notes=(*trace.notes, *_evaluation_note(trace, memory, rows, device)),
    )


def _lowest(setup: Setup) -> Setup:
    """Returns the setup with the first K layers where the gradient is yet to pick K of them: no others take more.

    What lies above the lowest layer that trains keeps its activations for the backward pass.
    """
    candidate = setup.candidate
    kind, _, count = candidate.layers.partition(":")
    if kind != "gradient" or candidate.layer_indices is not None:
        return setup
    return replace(setup, candidate=replace(candidate, layer_indices=tuple(range(int(count)))))


def evaluation_rows(setup: Setup, device: Device, practice: Practice = OWN) -> int:
    """Returns the rows that are scored at once; a trace of one batch alone knows nothing of more than it has."""
    return rows_at_once(setup.candidate, device.kind) if practice.proportional else setup.candidate.batch_size


def _evaluation_note(trace: Trace, memory: MemoryEstimate, rows: int, device: Device) -> tuple[str, ...]:
    """Returns a note where scoring takes more than training, so that it is what has to fit."""
    if memory.peak_phase != "evaluation":
        return ()
    alone = trace_memory(training_part(trace), device).peak_allocated_bytes
    at_once = "a row at a time" if rows == 1 else f"{rows} rows at once"
    return (f"The peak is that of scoring {at_once}; training alone takes {format_bytes(alone)} allocated.",)


def draft(setup: Setup, *, tokens_per_row: int, hardware: HardwareProfile, generosity: float = 1.0) -> Estimate:
    """Returns the cost by formula over the model's modules, in a millisecond and without torch.

    For comparing many plans of many methods: weights and what trains are exact, activations lie within 15 % of
    what plain architectures keep, and everything is counted as alive at once. Scoring counts where it takes more.

    Args:
        setup: as `estimate` takes it; so are the others.
        tokens_per_row: length of the rows of the longest batch.
        hardware: the device planned for.
        generosity: what the activations are multiplied by.

    Raises:
        InvalidValueError: as `estimate`.
    """
    setup = _lowest(setup)
    method = get_method(setup.candidate.method)
    adapter = method.trainable(setup)
    tokens = planned_tokens(setup, tokens_per_row)
    activations = activation_bytes(setup, method, tokens, adapter)
    generous = replace(activations, kept_bytes=int(activations.kept_bytes * generosity))
    scoring = scoring_bytes(setup, tokens, evaluation_rows(setup, hardware.device))
    return Estimate(
        memory=memory_estimate(setup, method, adapter, generous, scoring, hardware.device),
        step_seconds=step_seconds(setup, method, tokens, hardware.device),
        trainable_parameters=trained_parameters(setup, adapter),
        total_parameters=setup.model.parameters + (0 if method.capabilities.trains_base else adapter),
    )


def planned_tokens(setup: Setup, tokens_per_row: int) -> int:
    """Returns the sequence length the layers see: the row's tokens and those a method puts before them.

    Vectors that stand in every layer are keys and values only, so they lengthen no layer's sequence.
    """
    method = get_method(setup.candidate.method)
    if not method.capabilities.uses_context or grows_with_depth(method, setup):
        return tokens_per_row
    return tokens_per_row + int(setup.candidate.parameters.get("virtual_tokens", 0))


def grows_with_depth(method: Method, setup: Setup) -> bool:
    """Whether the method trains less on the same model without its last layer: it reaches every layer."""
    model = setup.model
    kept = tuple(module for module in model.modules if module.layer != model.layers - 1)
    shallower = replace(setup, model=replace(model, layers=model.layers - 1, modules=kept))
    return method.trainable(setup) > method.trainable(shallower)
