"""What a method costs at inference: time of a forward pass, attached and merged, and bytes to store."""

import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from autopeft.data import EncodedDataset
from autopeft.methods import get_method
from autopeft.training.base import Base
from autopeft.training.devices import autocast
from autopeft.training.run import collate
from autopeft.training.scoring import spread
from autopeft.values.candidates import Candidate
from autopeft.values.names import Dtype
from autopeft.values.outcomes import Latency
from autopeft.values.profiles import ModelProfile

ROWS = 8
"""Rows of the batch that is timed, at the most."""

WARM_UP, LEAST_REPEATS, MOST_REPEATS = 3, 5, 25
MOST_SECONDS = 2.0
"""A median over fewer repeats is taken where this time is over."""


def latency_batch(dataset: EncodedDataset, profile: ModelProfile, device: str, rows: int = ROWS) -> dict[str, Any]:
    """Returns a few rows of a split, evenly spread, as the model takes them when it is asked and not taught.

    Args:
        dataset: the split.
        profile: of the model.
        device: torch's name for it.
        rows: that it has memory for at once.
    """
    batch = collate(dataset, spread(len(dataset), min(rows, ROWS)), device)
    # An encoder-decoder reads its target; without labels it would have to write it.
    return batch if profile.kind == "seq2seq" else {key: value for key, value in batch.items() if key != "labels"}


def forward_milliseconds(model: Any, batch: dict[str, Any], *, dtype: Dtype, device: str) -> float:
    """Returns the median time of a forward pass after a warm-up; the model is put into evaluation mode."""
    import torch

    model.eval()
    times: list[float] = []
    began = time.monotonic()
    with torch.no_grad(), autocast(device, dtype):
        for _ in range(WARM_UP):
            model(**batch)
        while len(times) < MOST_REPEATS and (len(times) < LEAST_REPEATS or time.monotonic() - began < MOST_SECONDS):
            _synchronize(device)
            started = time.perf_counter()
            model(**batch)
            _synchronize(device)
            times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


def merges(candidate: Candidate) -> bool:
    """Returns whether a candidate's update can be folded into the base that it was trained on."""
    return get_method(candidate.method).capabilities.mergeable and candidate.quantization == "none"


def base_milliseconds(base: Base, batch: dict[str, Any], *, dtype: Dtype, device: str) -> float:
    """Returns the time of a base with nothing attached, which is that of whatever is merged into it.

    Merging leaves the base's own modules and no other: the contract of `autopeft.testing` holds every method to it.
    """
    return forward_milliseconds(base.model, batch, dtype=dtype, device=device)


def measure_latency(
    model: Any, batch: dict[str, Any], candidate: Candidate, *, device: str, merged_milliseconds: float
) -> Latency:
    """Returns what a forward pass takes with a method attached, beside what it takes merged.

    Args:
        model: with the candidate's method attached.
        batch: from `latency_batch`.
        candidate: what is attached.
        device: torch's name for it.
        merged_milliseconds: of the same batch, from `base_milliseconds`; left out where the candidate does not merge.
    """
    mask = batch.get("attention_mask")
    return Latency(
        attached_milliseconds=forward_milliseconds(model, batch, dtype=candidate.dtype, device=device),
        merged_milliseconds=merged_milliseconds if merges(candidate) else None,
        rows=len(batch["input_ids"]),
        tokens=math.prod(batch["input_ids"].shape) if mask is None else int(mask.sum()),
    )


def adapter_bytes(model: Any, candidate: Candidate) -> int:
    """Returns the bytes that the trained values take on disk, the task head included.

    What trains the base itself is counted, not written: it would be the size of a model.

    Args:
        model: with the candidate's method attached.
        candidate: what is attached.
    """
    method = get_method(candidate.method)
    if method.capabilities.trains_base:
        return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    with tempfile.TemporaryDirectory() as name:
        method.save(model, Path(name))
        return sum(path.stat().st_size for path in Path(name).rglob("*") if path.is_file())
