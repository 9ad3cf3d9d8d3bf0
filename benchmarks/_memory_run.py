"""One case of the memory benchmark, for real: the training code itself, followed on a CPU or measured on a GPU."""

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autopeft.data import EncodedDataset
from autopeft.estimation.trace import Trace, peak
from autopeft.estimation.tracing.depth import DepthPlan
from autopeft.estimation.tracing.unfold import Rows, unfold
from autopeft.methods import get_method
from autopeft.tasks import get_task
from autopeft.testing.models import tiny_tokenizer
from autopeft.training.base import load_base
from autopeft.training.run import TrainingRun
from autopeft.values.candidates import Setup
from autopeft.values.plans import Plan

STEPS = 2


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a run took.

    Attributes:
        allocated_bytes: at the peak of the steps.
        reserved_bytes: what torch's caching allocator held; None on a CPU.
        trace: on a CPU, what the recorder saw.
    """

    allocated_bytes: int
    reserved_bytes: int | None = None
    trace: Trace | None = None


def save_model(setup: Setup, config: Any, folder: Path) -> None:
    """Writes a task model of random weights, and a tokenizer, where `load_base` finds them."""
    import torch
    import transformers

    torch.manual_seed(0)
    if setup.model.labels:
        config.num_labels = setup.model.labels
    auto = getattr(transformers, get_task(setup.task).auto_class[setup.model.kind])
    dtype = torch.float32 if setup.model.parameters < 100_000_000 else torch.bfloat16
    auto.from_config(config, dtype=dtype).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


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


@contextmanager
def _run(setup: Setup, tokens: int, device: str, *, padded: bool) -> Any:
    import torch

    candidate, method = setup.candidate, get_method(setup.candidate.method)
    base = load_base(
        setup.model, quantization=candidate.quantization, dtype=candidate.dtype, head_seed=0, device=device
    )  # fmt: skip
    torch.manual_seed(0)
    model = method.apply(base.model, setup)
    if candidate.gradient_checkpointing:
        base.model.gradient_checkpointing_enable({"use_reentrant": False})
    dataset = rows_of(setup, tokens, padded=padded)
    size = candidate.batch_size
    batches = [tuple(range(start, start + size)) for start in range(0, len(dataset), size)]
    steps = [tuple(batches[at : at + candidate.accumulation]) for at in range(0, len(batches), candidate.accumulation)]
    plan = Plan(tokens=sum(dataset.lengths), weight_decay=0.01)
    yield model, TrainingRun(model, dataset, candidate, plan, steps, device)


def followed(setup: Setup, tokens: int, *, padded: bool) -> Measured:
    """Returns what two steps allocate on this machine's CPU, storage by storage."""
    from autopeft.estimation.tracing.loading import held_aside
    from autopeft.estimation.tracing.recorder import Recorder

    with ExitStack() as stack:
        model, run = stack.enter_context(_run(setup, tokens, "cpu", padded=padded))
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
    return Measured(allocated_bytes=peak(trace).bytes, trace=trace)


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


def measured(setup: Setup, tokens: int, *, padded: bool) -> Measured:
    """Returns what two steps take on the first CUDA device, after a warm-up run on one row of the same model."""
    import gc

    import torch

    with _run(replace(setup), tokens, "cuda:0", padded=padded) as (model, run):
        run.advance(1.0)
        del model, run
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with _run(setup, tokens, "cuda:0", padded=padded) as (model, run):
        run.advance(1.0)
        found = Measured(
            allocated_bytes=torch.cuda.max_memory_allocated(), reserved_bytes=torch.cuda.max_memory_reserved()
        )
        del model, run
    gc.collect()
    torch.cuda.empty_cache()
    return found
