"""Latency and size are those of what would be deployed."""

from dataclasses import replace

import pytest
from safetensors.torch import load_file

from autopeft.methods import get_method
from autopeft.training import latency
from autopeft.training.latency import (
    MOST_REPEATS,
    WARM_UP,
    adapter_bytes,
    base_milliseconds,
    latency_batch,
    measure_latency,
)
from autopeft.values.candidates import Candidate
from autopeft.values.plans import Plan
from tests.training.test_forgetting import LORA, sources, worker_and_data

__all__ = ["sources"]

HOULSBY = Candidate(method="houlsby_adapter", parameters={"bottleneck": 8}, targets="none", learning_rate=1e-3)


@pytest.mark.parametrize(
    ("architecture", "task"), [("bert", "classification"), ("gpt2", "generation"), ("t5", "seq2seq")]
)
def test_what_merges_is_as_fast_as_the_base(tiny_models, sources, monkeypatch, architecture, task):
    """Attached, a pass over eight rows is timed; merged it is the base's, and a row takes its share of that."""
    monkeypatch.setattr(latency, "MOST_SECONDS", 0.1)
    worker, data = worker_and_data(tiny_models[architecture], sources[task], task)
    batch = latency_batch(data["validation"], worker.profile, "cpu")
    base = base_milliseconds(worker.base(LORA), batch, dtype="float32", device="cpu")
    with worker.attached(LORA, Plan(tokens=200), data["train"]) as run:
        calls = []
        handle = run.model.register_forward_pre_hook(lambda *_: calls.append(1))
        found = measure_latency(run.model, batch, LORA, device="cpu", merged_milliseconds=base)
        handle.remove()
    assert WARM_UP < len(calls) <= WARM_UP + MOST_REPEATS
    assert found.attached_milliseconds > 0
    assert (found.merged_milliseconds, found.rows) == (base, 8)
    assert found.row_milliseconds == base / 8
    assert found.tokens == sum(sum(row["attention_mask"]) for row in rows_of(data["validation"]))


def test_no_more_rows_are_timed_than_there_is_memory_for(tiny_models, sources):
    """A card that was planned for three rows is not asked for eight."""
    worker, data = worker_and_data(tiny_models["bert"], sources["classification"], "classification")
    assert len(latency_batch(data["validation"], worker.profile, "cpu", 3)["input_ids"]) == 3
    assert len(latency_batch(data["validation"], worker.profile, "cpu", 99)["input_ids"]) == 8


def rows_of(dataset):
    return [dataset.rows[index * len(dataset) // 8] for index in range(8)]


def test_what_does_not_merge_is_timed_as_attached():
    """A method with modules of its own, and any method on a quantized base, has no merged time."""
    assert latency.merges(LORA)
    assert not latency.merges(replace(LORA, quantization="nf4"))
    assert not latency.merges(HOULSBY)


def test_the_size_is_what_lies_on_disk(tiny_models, sources, tmp_path):
    """An adapter's bytes are those of its saved files; what trains the base is counted by its values."""
    worker, data = worker_and_data(tiny_models["bert"], sources["classification"], "classification")
    with worker.attached(LORA, Plan(tokens=200), data["train"]) as run:
        found, trained = adapter_bytes(run.model, LORA), run.trainable_parameters
        get_method("lora").save(run.model, tmp_path)
    values = [t for path in tmp_path.glob("*.safetensors") for t in load_file(path).values()]
    assert 4 * trained == sum(t.numel() * t.element_size() for t in values)
    assert 4 * trained < found < 4 * trained + 20_000
    full = Candidate(method="full", targets="none", learning_rate=1e-3)
    with worker.attached(full, Plan(tokens=200), data["train"]) as run:
        assert adapter_bytes(run.model, full) == 4 * run.trainable_parameters
