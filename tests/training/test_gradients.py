"""Gradient norms are measured in the memory that a training step was planned for, and come to the same."""

from dataclasses import replace

import pytest

from autopeft.training import gradients
from autopeft.training.gradients import BATCHES, ROWS, layer_gradient_norms
from autopeft.training.run import collate
from autopeft.values.plans import Plan
from tests.training.test_run import LORA, data, worker

__all__ = ["data", "worker"]


def norms(worker, data, **options):
    return layer_gradient_norms(
        worker.base(LORA).model, worker.profile, data["train"], device="cpu", seed=0, **options
    )  # fmt: skip


def test_no_more_rows_at_once_than_there_is_memory_for(worker, data, monkeypatch):
    """Where fewer fit, there are so many more batches that as many rows are seen."""
    read = []

    def counted(dataset, rows, device):
        read.append(len(rows))
        return collate(dataset, rows, device)

    monkeypatch.setattr(gradients, "collate", counted)
    norms(worker, data, at_once=4)
    assert (max(read), len(read)) == (4, BATCHES * ROWS // 4)
    read.clear()
    norms(worker, data, at_once=100)
    assert (max(read), len(read)) == (ROWS, BATCHES)


def test_a_model_that_recomputes_does_so_here_too(worker, data):
    """A candidate with checkpointing has its layers picked with it: each layer's forward pass runs twice."""
    plain = norms(worker, data)
    worker._norms = None
    passes: list[None] = []
    layer = worker.base(LORA).model.bert.encoder.layer[0]
    inner = layer.attention.register_forward_hook(lambda *_: passes.append(None))
    candidate = replace(LORA, layers="gradient:1", gradient_checkpointing=True)
    with worker.attached(candidate, Plan(tokens=100), data["train"]):
        pass
    inner.remove()
    assert len(passes) == 2 * BATCHES
    assert worker._norms == pytest.approx(plain, rel=1e-4)
