"""What a trial is measured by beside its score: estimated memory, and where asked for forgetting and latency."""

from dataclasses import replace
from typing import Any

from autopeft.data import EncodedDataset
from autopeft.training.base import Base
from autopeft.training.forgetting import Probe, probe
from autopeft.training.latency import adapter_bytes, base_milliseconds, latency_batch, measure_latency
from autopeft.training.worker import Worker
from autopeft.tuning.prepare import Prepared
from autopeft.values.candidates import Candidate, rows_at_once
from autopeft.values.names import Criterion
from autopeft.values.outcomes import TrialOutcome


class Gauge:
    """Measures trials of one search; what was not asked for costs nothing."""

    def __init__(self, worker: Worker, prepared: Prepared) -> None:
        """Prepares the gauge.

        Args:
            worker: holds the base model.
            prepared: the search, for its estimates, its rows and what was asked for.
        """
        self._worker, self._prepared = worker, prepared
        self._objectives: frozenset[Criterion] = frozenset(prepared.objectives)
        self._base: Base | None = None
        self._probe: Probe | None = None
        self._base_milliseconds = 0.0

    def estimated(self, outcome: TrialOutcome) -> TrialOutcome:
        """Returns the outcome with the memory that its candidate is estimated to need."""
        needed, how = self._prepared.memory_of(outcome.candidate)
        return replace(outcome, estimated_bytes=needed, estimated_by=how)

    def ready(self, candidate: Candidate) -> None:
        """Measures the base that a candidate trains on, once, while nothing is attached to it."""
        if not {"forgetting", "latency"} & self._objectives:
            return
        if not self._worker.holds(candidate):
            # Whoever holds on to a base doubles what the next one takes while it is loaded.
            self._base = self._probe = None
        base = self._worker.base(candidate)
        if base is self._base:
            return
        device, dtype = self._worker.device, candidate.dtype
        if "forgetting" in self._objectives:
            self._probe = probe(base, self._worker.profile, self._prepared.texts, dtype=dtype, device=device)
        if "latency" in self._objectives:
            self._base_milliseconds = base_milliseconds(base, self._batch(), dtype=dtype, device=device)
        self._base = base

    def finished(self, outcome: TrialOutcome, model: Any) -> TrialOutcome:
        """Returns a completed outcome with what was asked for, measured on its trained model, still attached.

        Raises:
            DivergedError: the model no longer gives finite numbers on general text.
        """
        candidate = outcome.candidate
        if self._probe is not None:
            outcome = replace(outcome, forgetting=self._probe.after(model))
        if "latency" not in self._objectives:
            return outcome
        found = measure_latency(
            model, self._batch(), candidate, device=self._worker.device, merged_milliseconds=self._base_milliseconds
        )
        return replace(outcome, latency=found, adapter_bytes=adapter_bytes(model, candidate))

    def _batch(self) -> dict[str, Any]:
        rows: EncodedDataset = self._prepared.encoded["validation"]
        # The same rows for every trial, or their times would not compare.
        least = min(rows_at_once(start, self._worker.device) for start in self._prepared.starts)
        return latency_batch(rows, self._worker.profile, self._worker.device, least)
