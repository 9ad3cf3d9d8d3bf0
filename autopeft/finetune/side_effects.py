"""What training does besides the task: to general text, to another task, and to inference's time and memory."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from autopeft.data import Data, EncodedDataset, encode, load_data, load_like
from autopeft.errors import DivergedError, invalid
from autopeft.estimation import estimate
from autopeft.finetune.outcomes import Expected, Inference, SecondTask
from autopeft.profiling.hardware import probe_hardware
from autopeft.tasks import Predictions, TaskType, get_task
from autopeft.training.base import Base
from autopeft.training.devices import peak_bytes, reset_peak
from autopeft.training.forgetting import Probe, general_texts, probe
from autopeft.training.latency import base_milliseconds, latency_batch, measure_latency
from autopeft.training.scoring import Objective, predict, score
from autopeft.tuned import TunedConfig
from autopeft.tuning.objective import objective
from autopeft.values.candidates import Setup, rows_at_once
from autopeft.values.outcomes import Forgetting, Score

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Before:
    """A base with nothing attached, measured, and ready to be measured again once something was trained into it."""

    tuned: TunedConfig
    probe: Probe
    batch: Mapping[str, Any]
    milliseconds: float
    peak_bytes: int | None
    device: str

    def inference(self, model: Any) -> Inference:
        """Returns what a forward pass takes now, beside what it took."""
        latency, peak = _measured(
            model,
            self.device,
            lambda: measure_latency(
                model, dict(self.batch), self.tuned.candidate, device=self.device,
                merged_milliseconds=self.milliseconds,
            ),
        )  # fmt: skip
        return Inference(
            base_milliseconds=self.milliseconds, latency=latency, base_peak_bytes=self.peak_bytes, peak_bytes=peak
        )

    def forgetting(self, model: Any) -> tuple[Forgetting | None, tuple[str, ...]]:
        """Returns what was forgotten, or None and a note where the model gives no finite number any more."""
        try:
            return self.probe.after(model), ()
        except DivergedError as error:
            return None, (str(error),)


def measure_base(tuned: TunedConfig, setup: Setup, base: Base, test: EncodedDataset, device: str) -> Before:
    """Returns what a base does before anything is attached to it.

    Args:
        tuned: what will be trained.
        setup: its setup.
        base: with nothing attached.
        test: the rows that a forward pass is timed on.
        device: torch's name for it.
    """
    dtype = tuned.candidate.dtype
    batch = latency_batch(test, setup.model, device, rows_at_once(tuned.candidate, device))
    milliseconds, peak = _measured(
        base.model, device, lambda: base_milliseconds(base, batch, dtype=dtype, device=device)
    )
    return Before(
        tuned=tuned,
        probe=probe(base, setup.model, general_texts(), dtype=dtype, device=device),
        batch=batch,
        milliseconds=milliseconds,
        peak_bytes=peak,
        device=device,
    )


def _measured(model: Any, device: str, run: Callable[[], T]) -> tuple[T, int | None]:
    """Returns what a run gives, and the memory that the model and it take; what else lies on a GPU is left out."""
    import torch

    if not device.startswith("cuda"):
        reset_peak(device)
        return run(), peak_bytes(device)
    torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_allocated(device)
    found = run()
    weights = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    return found, weights + torch.cuda.max_memory_allocated(device) - held


@dataclass(frozen=True, kw_only=True)
class OtherData:
    """The test rows of a second task, tokenised, with what is counted on them."""

    source: str
    task: TaskType
    rows: EncodedDataset
    goal: Objective

    def score(self, tuned: TunedConfig, model: Any, tokenizer: Any, device: str) -> Score:
        """Returns the metric on the rows with its interval."""
        said: Predictions = predict(
            model, self.rows, self.task, tokenizer, dtype=tuned.candidate.dtype, device=device,
            batch_size=rows_at_once(tuned.candidate, device),
        )  # fmt: skip
        return score(said, self.goal, tuned.training.seed)

    def outcome(self, before: Score, after: Score) -> SecondTask:
        """Returns both scores under the source's name."""
        return SecondTask(source=self.source, task=self.task.name, before=before, after=after)


def other_data(tuned: TunedConfig, setup: Setup, sources: Sequence[str], tokenizer: Any) -> tuple[OtherData, ...]:
    """Returns the second tasks that a training is to be measured on.

    A model with a head of its own task is asked about other rows with the same columns and labels; one that writes
    text about any rows that it can write for.

    Raises:
        DataError: a source cannot be read, or lacks the columns or labels.
        InvalidValueError: it is a task for another kind of head.
    """
    return tuple(_other(tuned, setup, source, tokenizer) for source in sources)


def _other(tuned: TunedConfig, setup: Setup, source: str, tokenizer: Any) -> OtherData:
    own = get_task(tuned.model.task)
    if own.fresh_head:
        data: Data = load_like(tuned.data, source)
    else:
        data = load_data(source, token_limit=tuned.data.token_limit, seed=tuned.data.seed)
    task = get_task(data.spec.task)
    if task.auto_class.get(setup.model.kind) != own.auto_class[setup.model.kind]:
        raise invalid(
            "--also", "the training", f"data that a model for {own.name} can answer", f"{source} ({task.name})"
        )
    rows = encode(data, tokenizer, setup.model.kind)["test"]
    return OtherData(source=source, task=task, rows=rows, goal=objective(data))


def expected(setup: Setup, train: EncodedDataset) -> Expected:
    """Returns what training was to be expected to take on this machine: memory by the longest rows, time by the mean.

    Args:
        setup: of the training.
        train: its rows.
    """
    hardware = probe_hardware()
    longest = estimate(setup, tokens_per_row=max(train.lengths), hardware=hardware)
    seconds = None
    if longest.step_seconds is not None:
        usual = math.ceil(sum(train.lengths) / len(train.lengths))
        seconds = estimate(setup, tokens_per_row=usual, hardware=hardware).step_seconds
    device = hardware.device
    return Expected(device=device.name, kind=device.kind, peak_bytes=longest.memory.total_bytes, step_seconds=seconds)
