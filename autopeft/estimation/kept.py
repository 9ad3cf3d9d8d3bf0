"""Estimates kept on disk: to unfold a trace and replay it through the allocator takes a tenth of a second each time."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from autopeft.estimation.digest import code_digest
from autopeft.estimation.practice import OWN, Practice
from autopeft.estimation.tracing.setup import trace_key
from autopeft.estimation.tracing.store import key_of
from autopeft.methods import get_method
from autopeft.profiling.cache import cache_folder
from autopeft.values.candidates import Setup
from autopeft.values.profiles import Device


def estimate_path(
    setup: Setup, tokens_per_row: int, evaluation_rows: int, device: Device, practice: Practice = OWN
) -> Path:
    """Returns where the estimate of a traced setup on a device lies, before measured runs correct it.

    Its name holds all that decides it: the recording's key, the rows it is unfolded for, the device's figures, and
    the very code and efficiencies that make an estimate of these.
    """
    model, candidate = setup.model, setup.candidate
    parts = {
        "trace": trace_key(setup, tokens_per_row, device, practice),
        "rows": [candidate.batch_size, evaluation_rows, candidate.accumulation],
        "parameters": [get_method(candidate.method).trainable(setup), model.head_parameters, model.parameters],
        "device": _figures(device),
        "code": code_digest(),
    }
    return cache_folder() / "estimates" / f"{key_of(parts)}.json"


def _figures(device: Device) -> list[Any]:
    """Returns what an estimate takes from a device: not what is free on it now, which is another at every call."""
    return [
        device.kind, device.name, device.compute_capability, device.context_bytes,
        None if device.throughput is None else asdict(device.throughput),
    ]  # fmt: skip
