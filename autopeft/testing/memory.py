"""The estimate of memory against the truth: two steps of the training code on a CPU, followed storage by storage."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from autopeft.data import EncodedDataset
from autopeft.errors import ModelError
from autopeft.estimation import estimate
from autopeft.estimation.practice import OWN, Attention, Practice
from autopeft.estimation.trace import Trace, events, peak
from autopeft.estimation.tracing.depth import DepthPlan
from autopeft.estimation.tracing.setup import UntraceableError, trace_setup
from autopeft.estimation.tracing.unfold import Rows, unfold
from autopeft.methods import Method, all_methods, get_method
from autopeft.testing._observe import require
from autopeft.testing.cases import HARDWARE, TOKENS, Case
from autopeft.testing.fused_loss import chunked_loss
from autopeft.training.base import load_base
from autopeft.training.run import TrainingRun
from autopeft.values.candidates import Setup
from autopeft.values.plans import Plan

STEPS = 2

UNCOUNTED = 2 * 512
"""Bytes that a trace leaves out: the norms that clipping stacks."""

NUMBER = 8
"""Bytes of a single number: on a CPU the numbers of the host's program are followed with the device's."""


def check_memory_estimate(method: Method, case: Case) -> None:
    """The estimated peak is that of training, to 1 KiB; a bound, for what cannot be traced, is not below it."""
    if method.name not in all_methods():
        return  # an estimate finds methods by name
    run = followed(case.setup, TOKENS, padded=True, method=method)
    try:
        trace = trace_setup(case.setup, TOKENS, HARDWARE.device)
    except UntraceableError:
        bound = estimate(case.setup, tokens_per_row=TOKENS, hardware=HARDWARE).memory.peak_allocated_bytes
        asked = _asked(run.trace)
        require(bound >= asked, f"{case.name}: the bound says {bound} bytes, training takes {asked}.")
        return
    if trace.trainable_parameters != method.trainable(case.setup) + case.setup.model.head_parameters:
        return  # the estimate is of another size, which is for the check of the count to say
    found, taken = (_without_numbers(steps_of(each)) for each in (trace, run.trace))
    near = abs(found - taken) <= UNCOUNTED
    require(near, f"{case.name}: the estimate says {found} bytes, training takes {taken}.")


def steps_of(trace: Trace) -> Trace:
    """Returns the trace without what is held while weights are loaded alone: following begins after that."""
    start = next(phase.start for phase in trace.phases if phase.name == "forward")
    blocks = tuple(block for block in trace.blocks if block.end is None or block.end > start)
    return replace(trace, blocks=blocks)


def _without_numbers(trace: Trace) -> int:
    """Returns the peak, single numbers left out."""
    return peak(replace(trace, blocks=tuple(block for block in trace.blocks if block.bytes > NUMBER))).bytes


def _asked(trace: Trace) -> int:
    """Returns the most bytes alive at once as they were asked for; a formula knows nothing of rounding up."""
    alive = most = 0
    for event in events(trace):
        size = trace.blocks[event.block].bytes
        alive += size if event.allocates else -size
        most = max(most, alive)
    return most


@dataclass(frozen=True, kw_only=True)
class Followed:
    """What a run took.

    Attributes:
        allocated_bytes: at the peak of the steps.
        trace: what the recorder saw.
    """

    allocated_bytes: int
    trace: Trace


def followed(
    setup: Setup, tokens: int, *, padded: bool, method: Method | None = None, practice: Practice = OWN
) -> Followed:
    """Returns what two steps allocate on this machine's CPU.

    Args:
        setup: model, task and candidate; the model's weights are loaded from where its profile is from.
        tokens: of the longest row.
        padded: whether the first row of each batch is a token shorter.
        method: what attaches; the catalogue's method of the candidate where None.
        practice: how the step goes; the training code is set up so.
    """
    from autopeft.estimation.tracing.loading import held_aside
    from autopeft.estimation.tracing.recorder import Recorder

    with prepared(setup, tokens, "cpu", padded=padded, method=method, practice=practice) as (model, run):
        recorder = Recorder(device="cpu")
        recorder.phase("load")
        aside = [tensor for module in model.modules() for tensor in held_aside(module)]
        for tensor in (*model.parameters(), *model.buffers(), *_quantized(model), *aside):
            recorder.own(tensor, "weights", None)
        recorder.phase("forward")
        with recorder:
            run.advance(1.0)
        recording = recorder.recording()
        del run
    whole = DepthPlan(kept=(), runs=())
    trace = unfold(recording, whole, Rows(training=1, evaluation=1), trainable=0, total=0)
    return Followed(allocated_bytes=peak(trace).bytes, trace=trace)


@contextmanager
def prepared(
    setup: Setup, tokens: int, device: str, *, padded: bool, method: Method | None = None, practice: Practice = OWN
) -> Iterator[tuple[Any, TrainingRun]]:
    """Yields the attached model and a run of two steps over it; the arguments are those of `followed`."""
    import torch

    candidate, chosen = setup.candidate, method or get_method(setup.candidate.method)
    base = load_base(
        setup.model, quantization=candidate.quantization, dtype=candidate.dtype, head_seed=0, device=device
    )  # fmt: skip
    _attend(base.model, practice.attention)
    torch.manual_seed(0)
    model = chosen.apply(base.model, setup)
    if candidate.gradient_checkpointing:
        base.model.gradient_checkpointing_enable({"use_reentrant": practice.checkpointing == "reentrant"})
        if practice.checkpointing == "own":
            base.model.disable_input_require_grads()
    dataset = rows_of(setup, tokens, padded=padded)
    size = candidate.batch_size
    if practice.packing:
        dataset, size = packed(dataset, size), 1
        base.model.config.use_cache = False  # with a cache transformers would take a row for one text
    batches = [tuple(range(start, start + size)) for start in range(0, len(dataset), size)]
    steps = [tuple(batches[at : at + candidate.accumulation]) for at in range(0, len(batches), candidate.accumulation)]
    plan = Plan(tokens=sum(dataset.lengths), weight_decay=0.01)
    # A run asks its candidate's dtype for autocast alone, and float32 needs none.
    run_as = candidate if practice.autocast else replace(candidate, dtype="float32")
    with chunked_loss(base.model) if practice.loss == "chunked" else nullcontext():
        yield model, TrainingRun(model, dataset, run_as, plan, steps, device)


def _attend(model: Any, attention: Attention) -> None:
    """Sets a model's attention; what transformers chooses by itself stays.

    Raises:
        ModelError: the package that it needs is not there.
    """
    if attention == "flash" and find_spec("flash_attn") is None:
        raise ModelError("FlashAttention is not installed: pip install flash-attn.")
    if attention != "sdpa":
        model.set_attn_implementation("flash_attention_2" if attention == "flash" else attention)


def packed(dataset: EncodedDataset, texts: int) -> EncodedDataset:
    """Returns the rows of so many texts each on end in one, with positions that begin anew with each text."""
    rows: list[dict[str, Any]] = []
    for start in range(0, len(dataset), texts):
        together = dataset.rows[start : start + texts]
        row = {key: [value for text in together for value in text[key]] for key in ("input_ids", "labels")}
        rows.append({**row, "position_ids": [place for text in together for place in range(len(text["input_ids"]))]})
    lengths = [len(row["input_ids"]) for row in rows]
    return EncodedDataset(rows=rows, lengths=lengths, truncated=0, pad_values=dataset.pad_values)


def rows_of(setup: Setup, tokens: int, *, padded: bool) -> EncodedDataset:
    """Returns rows of equal length, or where they are to be padded the first of each batch a token shorter."""
    size = setup.candidate.batch_size
    count = size * setup.candidate.accumulation * STEPS
    lengths = [tokens - 1 if padded and index % size == 0 else tokens for index in range(count)]
    rows = [_row(setup, length) for length in lengths]
    return EncodedDataset(rows=rows, lengths=lengths, truncated=0, pad_values={"input_ids": 0, "labels": -100})


def _row(setup: Setup, length: int) -> dict[str, Any]:
    ids = [5 + index % 200 for index in range(length)]
    ids[-1] = 2  # EOS, which an encoder-decoder's classification head looks for
    label: Any = {"classification": 1, "pair-classification": 1, "regression": 0.5, "multiple-choice": 1}.get(
        setup.task, ids
    )
    if setup.task == "multiple-choice":
        return {"input_ids": [ids] * 4, "attention_mask": [[1] * length] * 4, "labels": label}
    if setup.task == "token-classification":
        label = [1] * length
    return {"input_ids": ids, "attention_mask": [1] * length, "labels": label}


def _quantized(model: Any) -> list[Any]:
    """Returns the tensors that quantized weights have beside their codes."""
    found = []
    for module in model.modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None:
            found += [state.absmax, state.code]
            if state.nested:
                found += [state.offset, state.state2.absmax, state.state2.code]
        scales = getattr(getattr(module, "state", None), "SCB", None)
        scales = getattr(getattr(module, "weight", None), "SCB", None) if scales is None else scales
        if scales is not None:
            found.append(scales)
    return found
