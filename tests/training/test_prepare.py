"""A worker lets a method start from its run's own batches, and gets its base back however the start goes."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from autopeft.data import encode, load_data
from autopeft.methods import get_method
from autopeft.profiling.hardware import probe_hardware
from autopeft.profiling.model import read_model
from autopeft.profiling.tokenizer import load_tokenizer
from autopeft.testing.cases import build
from autopeft.training import worker as worker_module
from autopeft.training.base import fingerprint
from autopeft.training.callbacks import method_callbacks, start
from autopeft.training.worker import PREPARING_BATCHES, Worker
from autopeft.values.candidates import Candidate, Setup
from autopeft.values.plans import Plan
from tests.toys import classification_csv

LORA = {"rank": 4, "alpha": 4, "dropout": 0.0}
PLAN = Plan(tokens=2000)


@pytest.fixture(scope="module")
def data(tmp_path_factory, tiny_models):
    source = classification_csv(tmp_path_factory.mktemp("data") / "toy.csv")
    return encode(load_data(str(source)), load_tokenizer(str(tiny_models["bert"])), "encoder").splits["train"]


@pytest.fixture
def worker(tiny_models):
    return Worker(read_model(str(tiny_models["bert"]), "classification", 2), probe_hardware(), head_seed=0)


def candidate(method, **changes):
    return Candidate(**{"method": method, "parameters": LORA, "learning_rate": 1e-3, "batch_size": 8, **changes})


def first_factors(model):
    return [p.detach() for n, p in model.named_parameters() if "lora_A" in n]


def test_a_method_sees_the_first_batches_of_its_run(worker, data, monkeypatch):
    """It is given a few micro-batches of the rows it will train on, with labels, before the optimizer is made."""
    seen = []
    eva = get_method("eva")
    watching = replace(eva, prepare=lambda model, setup, batches: seen.append((setup, batches)))
    monkeypatch.setattr(worker_module, "get_method", lambda _name: watching)
    with worker.attached(candidate("eva"), PLAN, data):
        pass
    ((setup, batches),) = seen
    assert setup.candidate.method == "eva"
    assert len(batches) == PREPARING_BATCHES
    assert all({"input_ids", "attention_mask", "labels"} <= set(batch) for batch in batches)


def test_the_start_comes_from_the_data_and_is_the_same_again(worker, data):
    """EVA's factors are orthonormal within a run, and the same run starts the same."""
    starts = []
    for _ in range(2):
        with worker.attached(candidate("eva"), PLAN, data) as run:
            starts.append(first_factors(run.model))
    for a, again in zip(*starts, strict=True):
        assert torch.allclose(a @ a.T, torch.eye(4), atol=1e-4)
        assert torch.equal(a, again)


@pytest.mark.parametrize("method", ["pissa", "olora", "corda", "lora_ga"])
def test_a_base_that_a_start_moved_comes_back(method, worker, data):
    """While attached the base is another one; afterwards every bit is as it was, which the worker proves by hash."""
    base = worker.base(candidate(method))
    before = base.fingerprint
    with worker.attached(candidate(method), PLAN, data) as run:
        run.advance(0.2)
    assert fingerprint(base.model) == before


def test_a_start_that_fails_leaves_the_base_as_it_was(worker, data, monkeypatch):
    """An error while preparing is not covered up, and the next candidate finds the base clean."""

    def fail(*_arguments):
        raise RuntimeError("no start today")

    moved = replace(get_method("pissa"), prepare=fail)
    base = worker.base(candidate("pissa"))
    monkeypatch.setattr(worker_module, "get_method", lambda _name: moved)
    with pytest.raises(RuntimeError, match="no start today"), worker.attached(candidate("pissa"), PLAN, data):
        pytest.fail("the run began")
    assert fingerprint(base.model) == base.fingerprint


class Rows(torch.utils.data.Dataset[Any]):
    """The encoded rows one by one, as anybody's data set would have them, all of one length."""

    def __init__(self, data):
        self.rows = [data[index] for index in range(40)]
        self.longest = max(len(row["input_ids"]) for row in self.rows)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        row = self.rows[index]
        return {k: torch.nn.functional.pad(v, (0, self.longest - len(v))) if v.ndim else v for k, v in row.items()}


def attached_for_trainer(name, tiny_models):
    profile = read_model(str(tiny_models["bert"]), "classification", 2)
    setup = Setup(model=profile, task="classification", candidate=candidate(name))
    model = build(tiny_models["bert"], "classification", "encoder", 2)
    torch.manual_seed(0)
    return get_method(name).apply(model, setup), setup


def test_transformers_trainer_starts_the_method_too(data, tiny_models, tmp_path):
    """The callback starts it from the trainer's own rows before the first step; a rate of 0 leaves it there."""
    from transformers import Trainer, TrainingArguments

    model, setup = attached_for_trainer("eva", tiny_models)
    arguments = TrainingArguments(
        str(tmp_path), max_steps=1, learning_rate=0.0, report_to="none", save_strategy="no",
        per_device_train_batch_size=4, remove_unused_columns=False, label_names=["labels"], use_cpu=True,
    )  # fmt: skip
    callbacks = method_callbacks("eva", lambda: setup)
    Trainer(model=model, args=arguments, train_dataset=Rows(data), callbacks=callbacks).train()
    assert all(torch.allclose(a @ a.T, torch.eye(4), atol=1e-4) for a in first_factors(model))
    assert method_callbacks("lora", lambda: setup) == []


@pytest.mark.parametrize("method", ["corda", "lora_ga"])
def test_a_resumed_run_keeps_its_values_on_the_same_moved_base(method, data, tiny_models):
    """What a checkpoint has brought back stays, and the base is moved as it was the first time."""
    loader = torch.utils.data.DataLoader(Rows(data), batch_size=4)
    bases, values = [], []
    for resumed in (False, True):
        model, setup = attached_for_trainer(method, tiny_models)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        initial = [parameter.detach().clone() for parameter in trained]
        if resumed:
            for parameter in trained:
                parameter.data.fill_(0.5)
        start(get_method(method), setup, model, loader, 4, initial if resumed else None)
        bases.append([p.detach() for n, p in model.named_parameters() if "base_layer.weight" in n])
        values.append([p.detach() for p in trained])
    assert all(torch.equal(first, again) for first, again in zip(*bases, strict=True))
    assert all((value == 0.5).all() for value in values[1])
    assert not any((value == 0.5).all() for value in values[0])
