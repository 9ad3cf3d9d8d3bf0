"""A run sees the tokens of its budget, follows its schedule, and goes on from its state as if never stopped."""

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from autopeft.data import EncodedDataset, encode, load_data
from autopeft.errors import DivergedError, OutOfMemoryError, StudyError, TimedOutError
from autopeft.methods import get_method
from autopeft.optimizers import all_optimizers
from autopeft.profiling.hardware import probe_hardware
from autopeft.profiling.model import read_model
from autopeft.profiling.tokenizer import load_tokenizer
from autopeft.training import worker as worker_module
from autopeft.training.base import fingerprint
from autopeft.training.checkpoint import load_state, save_state, save_trained
from autopeft.training.class_weights import weighted_loss
from autopeft.training.devices import memory_guard
from autopeft.training.pace import LEAST_STEPS
from autopeft.training.run import collate, plan_steps
from autopeft.training.worker import Worker
from autopeft.tuning.folder import storage_errors
from autopeft.values.candidates import SCORED_ON_CPU, Candidate, rows_at_once
from autopeft.values.plans import Plan
from tests.toys import classification_csv

LORA = Candidate(
    method="lora", parameters={"rank": 4, "alpha": 8, "dropout": 0.0}, learning_rate=5e-3, batch_size=8, accumulation=2
)


ON_CPU = sorted(name for name, optimizer in all_optimizers().items() if not optimizer.needs_cuda)


def rows_of(lengths):
    rows = [{"input_ids": [1] * length} for length in lengths]
    return EncodedDataset(rows=rows, lengths=lengths, truncated=0, pad_values={})


@pytest.fixture(scope="module")
def data(tmp_path_factory, tiny_models):
    source = classification_csv(tmp_path_factory.mktemp("data") / "toy.csv")
    return encode(load_data(str(source)), load_tokenizer(str(tiny_models["bert"])), "encoder")


@pytest.fixture
def worker(tiny_models):
    profile = read_model(str(tiny_models["bert"]), "classification", 2)
    return Worker(profile, probe_hardware(), head_seed=0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 3000),
)
def test_steps_cover_the_token_budget_and_no_more(lengths, batch, accumulation, tokens):
    """Whatever batch and accumulation, a run sees its budget of tokens, exceeded by less than one micro-batch."""
    candidate = replace(LORA, batch_size=batch, accumulation=accumulation)
    steps = plan_steps(rows_of(lengths), candidate, Plan(tokens=tokens))
    seen = [[sum(lengths[i] for i in micro) for micro in step] for step in steps]
    total = sum(map(sum, seen))
    assert total >= tokens
    assert total - seen[-1][-1] < tokens
    assert all(1 <= len(step) <= accumulation for step in steps)
    assert all(len(step) == accumulation for step in steps[:-1])


def test_a_run_learns_and_repeats(worker, data):
    """The loss falls on learnable data, and the same seed gives the same losses."""
    plan = Plan(tokens=30_000, seed=1)
    losses = []
    for _ in range(2):
        with worker.attached(replace(LORA, learning_rate=2e-2), plan, data["train"]) as run:
            losses.append((run.advance(0.2), run.advance(1.0)))
            assert run.tokens >= 30_000
            assert run.done == len(run.steps)
    assert losses[0] == losses[1]
    assert losses[0][1] < losses[0][0] - 0.02


@pytest.mark.parametrize(("schedule", "last"), [("constant", 1e-2), ("linear", 0.0)])
def test_the_rate_goes_as_the_candidate_says(worker, data, schedule, last):
    """The run's learning rate follows the candidate's schedule to its end."""
    candidate = replace(LORA, learning_rate=1e-2, schedule=schedule)
    with worker.attached(candidate, Plan(tokens=500), data["train"]) as run:
        run.advance(1.0)
        rates = [group["lr"] for group in run.state().optimizer["param_groups"]]
        assert rates == pytest.approx([last] * len(rates))


@pytest.mark.parametrize("optimizer", ON_CPU)
def test_a_run_goes_on_from_its_state(worker, data, tmp_path, optimizer):
    """Stopped half-way, stored, detached and resumed, a run ends with the losses of an unbroken one."""
    plan = Plan(tokens=2_000, seed=2)
    candidate = replace(LORA, optimizer=optimizer, parameters={"rank": 2, "alpha": 4, "dropout": 0.1})
    if "rank" in all_optimizers()[optimizer].options:  # it projects large matrices, which an adapter does not train
        candidate = replace(candidate, method="full", parameters={}, targets="none", learning_rate=1e-4)
    with worker.attached(candidate, plan, data["train"]) as run:
        run.advance(0.5)
        save_state(run.state(), tmp_path / "state.safetensors")
        expected = run.advance(1.0)
    state = load_state(tmp_path / "state.safetensors")
    with worker.attached(candidate, plan, data["train"], state=state) as run:
        assert run.done == state.done > 0
        assert run.advance(1.0) == expected


def test_a_run_with_hidden_state_is_not_cut(worker, data):
    """A method that keeps state beside its weights gives none, since it would lack that."""
    parameters = {"rank": 2, "initial_rank": 4, "alpha": 8, "dropout": 0.0}
    candidate = replace(LORA, method="adalora", parameters=parameters)
    with worker.attached(candidate, Plan(tokens=8_000), data["train"]) as run:
        assert run.state() is None


def test_a_state_that_finds_no_room_leaves_nothing(worker, data, tmp_path, monkeypatch):
    """A full disk is said in one sentence, as of every file of a search, and half a state takes no room from others."""

    def filling(_tensors, path, **_):
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", filling)
    with (
        worker.attached(LORA, Plan(tokens=500), data["train"]) as run,
        pytest.raises(StudyError, match=r"The disk that holds runs/x is full\. What is done is kept"),
        storage_errors("runs/x"),
    ):
        save_state(run.state(), tmp_path / "state.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_what_a_finalist_trained_is_on_the_disk_before_it_is_noted(worker, data, tmp_path, monkeypatch):
    """After a power cut the note of it would otherwise lead to empty weights."""
    flushed: list[Any] = []
    monkeypatch.setattr("autopeft.training.checkpoint.flush", flushed.append)
    with worker.attached(LORA, Plan(tokens=500), data["train"]) as run:
        save_trained(run, tmp_path / "finalist")
    assert set(flushed) == set((tmp_path / "finalist").iterdir()) != set()


def test_divergence_and_deadline_are_expected_outcomes(worker, data):
    """A NaN loss and a deadline each end a run with their own error, and the base is as before."""
    plan = Plan(tokens=4_000)
    with (
        pytest.raises(DivergedError, match="loss became"),
        worker.attached(replace(LORA, learning_rate=1e30), plan, data["train"]) as run,
    ):
        run.advance(1.0)
    with (
        pytest.raises(TimedOutError, match="time was over at step 1 of"),
        worker.attached(LORA, plan, data["train"], time.monotonic()) as run,
    ):
        run.advance(1.0)
    assert fingerprint(worker.base(LORA).model) == worker.base(LORA).fingerprint


def test_what_is_too_slow_ends_after_a_few_steps(worker, data, monkeypatch):
    """A run that cannot reach its next reading in the time of its plan is not trained until that is over."""
    monkeypatch.setattr("autopeft.training.pace.LEAST_SHARE", 0.0)
    plan = Plan(tokens=12_000, readings=(0.5, 1.0), seconds=600.0)
    with worker.attached(LORA, plan, data["train"]) as run:
        run.advance(1.0)
        assert run.done == len(run.steps)
    monkeypatch.setattr("autopeft.training.run.longest_part", lambda shares: 1e9 * len(shares))
    with (
        pytest.raises(TimedOutError, match=f"Its first {LEAST_STEPS + 1} steps show it"),
        worker.attached(LORA, plan, data["train"]) as run,
    ):
        run.advance(1.0)
    assert run.done == LEAST_STEPS + 1 < len(run.steps)


def test_each_part_has_the_time_of_the_plan(worker, data, monkeypatch):
    """A run that goes on at once has for each part what one that was stopped and continued would have."""
    plan, now = Plan(tokens=4_000, readings=(0.5, 1.0), seconds=10.0), [0.0]
    monkeypatch.setattr("autopeft.training.run.time", SimpleNamespace(monotonic=lambda: now[0]))
    with worker.attached(LORA, plan, data["train"]) as run:
        run.advance(0.5)
        now[0] += 11.0
        run.advance(1.0)
        assert run.done == len(run.steps)
    with worker.attached(LORA, plan, data["train"]) as run:
        step = run._step

        def slow(batches):
            now[0] += 6.0
            return step(batches)

        monkeypatch.setattr(run, "_step", slow)
        with pytest.raises(TimedOutError, match="time was over at step 2"):
            run.advance(0.5)


def test_several_parts_in_one_go_have_the_time_of_each(worker, data, monkeypatch):
    """A trial whose state is gone trains up to where it stopped and on; a further fold trains the whole budget."""
    plan, now = Plan(tokens=4_000, readings=(0.5, 1.0), seconds=10.0), [0.0]
    monkeypatch.setattr("autopeft.training.run.time", SimpleNamespace(monotonic=lambda: now[0]))
    with worker.attached(LORA, plan, data["train"]) as run:
        step, each = run._step, 19.0 / len(run.steps)

        def steady(batches):
            now[0] += each
            return step(batches)

        monkeypatch.setattr(run, "_step", steady)
        run.advance(1.0)
        assert run.done == len(run.steps)


def test_a_method_that_changes_the_base_is_undone(worker, data):
    """Full fine-tuning alters every weight during its run and none after it."""
    candidate = Candidate(method="full", targets="none", learning_rate=1e-3, batch_size=8)
    with worker.attached(candidate, Plan(tokens=1_000), data["train"]) as run:
        run.advance(1.0)
        assert fingerprint(worker.base(LORA).model) != worker.base(LORA).fingerprint
    assert fingerprint(worker.base(LORA).model) == worker.base(LORA).fingerprint


def test_a_base_that_was_not_restored_stops_everything(worker, data, monkeypatch):
    """A method that leaves a trace in the base is a defect and raises, never a bad score."""
    monkeypatch.setattr(worker_module, "restore_weights", lambda *_: None)
    candidate = Candidate(method="full", targets="none", learning_rate=1e-3, batch_size=8)
    with (
        pytest.raises(RuntimeError, match="not restored after a run of 'full'"),
        worker.attached(candidate, Plan(tokens=500), data["train"]) as run,
    ):
        run.advance(1.0)
    worker.release()
    with (
        pytest.raises(RuntimeError, match="not restored after a run of 'full'"),
        worker.attached(replace(candidate, learning_rate=1e30), Plan(tokens=4_000), data["train"]) as run,
    ):
        run.advance(1.0)


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "HIP error: out of memory",
    ],
)
def test_memory_that_runs_out_beside_the_allocator_is_out_of_memory_too(text):
    """Drivers and libraries allocate by themselves, and torch passes on what they say as a plain error."""
    with pytest.raises(OutOfMemoryError, match=text[:20]), memory_guard():
        raise RuntimeError(text)


def test_only_memory_errors_become_out_of_memory():
    """torch's own error and the CPU allocator's are told apart from any other RuntimeError."""
    with pytest.raises(OutOfMemoryError, match="CUDA out of memory"), memory_guard():
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(OutOfMemoryError, match="can't allocate"), memory_guard():
        torch.empty(2**58, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="size mismatch") as caught, memory_guard():
        raise RuntimeError("size mismatch")
    assert not isinstance(caught.value, OutOfMemoryError)


def test_class_weights_are_those_of_torch(worker, data):
    """Weighted classes change the loss to torch's weighted cross entropy, and only while the context lasts."""
    model = worker.base(LORA).model.eval()
    batch = collate(data["train"], [0, 1, len(data["train"]) - 1], "cpu")
    with torch.no_grad():
        plain = model(**batch)
        with weighted_loss(model, (1.0, 3.0)):
            weighted = model(**batch).loss
        expected = torch.nn.functional.cross_entropy(plain.logits, batch["labels"], torch.tensor([1.0, 3.0]))
        assert torch.equal(weighted, expected)
        assert not torch.equal(weighted, plain.loss)
        assert torch.equal(model(**batch).loss, plain.loss)


@pytest.mark.parametrize("name", ["adalora", "velora"])
def test_what_keeps_state_between_steps_is_not_interrupted(name, worker, data):
    """A rank schedule, or a vector that the first batch gave, would be another one after going on: it begins anew."""
    candidate = replace(LORA, method=name, parameters=dict(get_method(name).seeds[0].parameters))
    with worker.attached(candidate, Plan(tokens=4000), data["train"]) as run:
        run.advance(0.2)
        assert run.state() is None
    with worker.attached(LORA, Plan(tokens=500), data["train"]) as run:
        assert run.state() is not None


def test_gradient_layers_are_those_with_the_largest_norms(worker, data):
    """gradient:1 picks the layer whose weights the loss pulls at most, records it, and leaves the base as it was."""
    model = worker.base(LORA).model
    expected: dict[int, float] = {}
    for layer in model.bert.encoder.layer:
        layer.requires_grad_(True)
    from autopeft.data import batches
    from autopeft.training.gradients import BATCHES, ROWS

    for batch, _ in zip(batches(data["train"], ROWS, 0), range(BATCHES), strict=False):
        model.eval()
        model.zero_grad()
        model(**collate(data["train"], batch, "cpu")).loss.backward()
        for index, layer in enumerate(model.bert.encoder.layer):
            grads = [m.weight.grad for m in layer.modules() if isinstance(m, torch.nn.Linear)]
            expected[index] = expected.get(index, 0.0) + sum(float((g**2).sum()) for g in grads if g is not None)
    model.zero_grad()
    model.requires_grad_(False)
    with worker.attached(replace(LORA, layers="gradient:1"), Plan(tokens=500), data["train"]) as run:
        assert run.candidate.layer_indices == (max(expected, key=lambda index: expected[index]),)
        trained = {name for name, p in run.model.named_parameters() if p.requires_grad and "lora_" in name}
        assert all(f"layer.{run.candidate.layer_indices[0]}." in name for name in trained)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_layers_below_the_first_adapted_one_keep_no_graph(worker, data, checkpointing):
    """With ``last:1`` nothing is recorded for a backward pass below the last layer: those layers cost a forward."""
    recorded = []
    candidate = replace(LORA, layers="last:1", gradient_checkpointing=checkpointing)
    with worker.attached(candidate, Plan(tokens=500), data["train"]) as run:
        layers = worker.base(candidate).model.bert.encoder.layer
        for layer in layers:
            layer.register_forward_hook(lambda _layer, _inputs, said: recorded.append(_first(said).requires_grad))
        run.model.train()
        run._backward(run.steps[0][0], 1)
    assert recorded[: len(layers)] == [False, False, True]


def _first(said):
    return said[0] if isinstance(said, tuple) else said


def test_labels_have_their_names(tiny_models):
    """The base knows its labels by the data's names, which metrics of tagged words read."""
    profile = read_model(str(tiny_models["bert"]), "token-classification", 3)
    worker = Worker(profile, probe_hardware(), head_seed=0, label_names=("O", "B-PER", "I-PER"))
    config = worker.base(LORA).model.config
    assert [config.id2label[number] for number in range(3)] == ["O", "B-PER", "I-PER"]
    assert config.label2id["I-PER"] == 2


def test_scoring_takes_no_more_rows_than_training_on_a_device_that_was_planned_for():
    """On a GPU a forward pass that scores has the rows of a training step; on a CPU 32, but for a batch of one.

    A single row is what planning leaves where memory is short, and what scoring was then planned with.
    """
    assert rows_at_once(LORA, "cuda:0") == LORA.batch_size
    assert rows_at_once(LORA, "cpu") == SCORED_ON_CPU
    assert rows_at_once(replace(LORA, batch_size=1), "cpu") == 1


@pytest.mark.parametrize("part", ["apply", "load"])
def test_a_method_that_fails_half_attached_leaves_no_broken_base(worker, data, tmp_path, monkeypatch, part):
    """Out of memory while a method is attached is an outcome: the next run has a base that was loaded anew."""
    before = worker.base(LORA)

    def half(name):
        method = get_method(name)

        def fail(model, setup, *_):
            method.apply(model, setup)
            raise torch.OutOfMemoryError("CUDA out of memory")

        changed: Any = {part: fail}
        return replace(method, **changed)

    monkeypatch.setattr(worker_module, "get_method", half)
    with (
        pytest.raises(OutOfMemoryError),
        memory_guard(),
        worker.attached(LORA, Plan(tokens=500), data["train"], saved=tmp_path if part == "load" else None),
    ):
        pass
    monkeypatch.undo()
    assert not worker.holds(LORA)
    assert worker.base(LORA) is not before
    assert worker.base(LORA).fingerprint == before.fingerprint
    with worker.attached(LORA, Plan(tokens=500), data["train"]) as run:
        run.advance(1.0)


def test_state_that_an_optimizer_keeps_by_name_goes_to_the_device(worker, data, monkeypatch):
    """torch moves the state of parameters alone, and a state read from a file is on the processor."""
    candidate = replace(LORA, optimizer="lora_fa")
    with worker.attached(candidate, Plan(tokens=2_000, seed=2), data["train"]) as run:
        run.advance(0.5)
        state = run.state()
        named = [entry for key, entry in state.optimizer["state"].items() if isinstance(key, str)]
        assert any(isinstance(value, torch.Tensor) for entry in named for value in entry.values())
        monkeypatch.setattr(run, "device", "meta")
        run.load_state(state)
        moved = [entry for key, entry in run._optimizer.state.items() if isinstance(key, str)]
        kept = {value.device.type for entry in moved for value in entry.values() if isinstance(value, torch.Tensor)}
        assert kept == {"meta"}
        assert {type(entry["step"]) for entry in moved} == {int}
