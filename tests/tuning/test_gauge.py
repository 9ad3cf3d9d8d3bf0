"""What is measured beside a score has the rows that were planned for."""

from types import SimpleNamespace
from typing import Any

from autopeft.tuning import gauge
from autopeft.tuning.gauge import Gauge
from autopeft.values.candidates import Candidate


def test_every_trial_is_timed_on_the_rows_that_the_smallest_start_takes(monkeypatch):
    """On a GPU the batch has as many rows as every start was planned for, the same for all, so that times compare."""
    monkeypatch.setattr(gauge, "latency_batch", lambda _rows, _profile, _device, rows: rows)
    starts = [Candidate(method="ia3", learning_rate=1e-3, batch_size=rows) for rows in (4, 2, 8)]
    prepared: Any = SimpleNamespace(objectives=("quality",), encoded={"validation": None}, starts=starts)
    for device, rows in (("cuda:0", 2), ("cpu", 32)):
        worker: Any = SimpleNamespace(device=device, profile=None)
        asked: Any = Gauge(worker, prepared)._batch()
        assert asked == rows
