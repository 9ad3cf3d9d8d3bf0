"""What a search will cost is found out on machines, too, on which the first start does not fit as it was planned."""

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autopeft.errors import OutOfMemoryError
from autopeft.tuning.budget import measure_speed
from autopeft.tuning.cost import fitting_speed
from autopeft.values.candidates import Candidate

START = Candidate(method="ia3", learning_rate=1e-3, batch_size=16)
PREPARED: Any = SimpleNamespace(starts=(START,))


def measuring(most, asked):
    def measure(candidate):
        asked.append((candidate.batch_size, candidate.accumulation))
        if candidate.batch_size > most:
            raise OutOfMemoryError("CUDA out of memory")
        return 900.0

    return measure


def test_the_speed_is_that_of_as_many_rows_at_once_as_fit():
    """A first start that was estimated too low is measured with half its rows at once, and half of these."""
    asked: list[tuple[int, int]] = []
    assert fitting_speed(PREPARED, measuring(4, asked)) == 900.0
    assert asked == [(16, 1), (8, 2), (4, 4)]
    with pytest.raises(
        OutOfMemoryError, match=r"ia3 does not fit with one row at a time.*CUDA out of memory\nFree mem"
    ):
        fitting_speed(PREPARED, measuring(0, asked))


def test_memory_that_runs_out_while_the_speed_is_measured_is_told_apart():
    """torch's own error becomes the one that a search expects, with nothing begun that a resume would meet again."""

    @contextmanager
    def attached(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    worker: Any = SimpleNamespace(attached=attached)
    rows: Any = SimpleNamespace(lengths=[5, 7])
    with pytest.raises(OutOfMemoryError, match="CUDA out of memory"):
        measure_speed(worker, START, rows)
