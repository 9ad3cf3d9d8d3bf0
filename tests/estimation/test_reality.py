"""The formula behind the upper bound against tiny models that run: exact where it must be, near where it may be."""

import pytest
import torch
import transformers

from autopeft.estimation.activations import activation_bytes, scoring_bytes
from autopeft.estimation.memory import memory_estimate
from autopeft.methods import get_method
from autopeft.profiling.model import read_model
from autopeft.tasks import get_task
from autopeft.values.candidates import Candidate, Setup
from tests.recommend.settings import hardware

ROWS, TOKENS = 4, 64
BOUND = 0.15
"""Largest relative error of kept activations on models where a rank-8 pair is a sixth of the width."""

CASES = [
    ("bert", "classification"),
    ("llama", "classification"),
    ("llama", "generation"),
    ("gpt2", "generation"),
    ("t5", "seq2seq"),
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path_factory.getbasetemp() / "profiles"))


def _setup(folder, task, name):
    method = get_method(name)
    seed = method.seeds[0]
    candidate = Candidate(
        method=name, parameters=dict(seed.parameters), learning_rate=1e-3, batch_size=ROWS,
        targets=seed.targets if method.capabilities.takes_targets else "none",
    )  # fmt: skip
    return Setup(model=read_model(str(folder), task), task=task, candidate=candidate)


def _network(folder, setup):
    auto = getattr(transformers, get_task(setup.task).auto_class[setup.model.kind])
    network = auto.from_pretrained(folder)
    network.config.pad_token_id = 0
    return network


def _kept_by_autograd(network, setup):
    """Bytes of the distinct storages that a forward pass saves, parameters and buffers left out."""
    ids = torch.randint(5, 250, (ROWS, TOKENS))
    labels = torch.zeros(ROWS, dtype=torch.long) if setup.task == "classification" else ids
    mask = torch.ones_like(ids)
    mask[0, -9:] = 0
    own = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}
    # Tensors are held, so that no storage is freed and its address used again.
    saved: dict[int, torch.Tensor] = {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network(input_ids=ids, attention_mask=mask, labels=labels).loss
    assert loss.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values())


def _attached(folder, setup):
    network = _network(folder, setup)
    network.requires_grad_(False)
    return get_method(setup.candidate.method).apply(network, setup).train()


def _predicted(setup):
    method = get_method(setup.candidate.method)
    activations = activation_bytes(setup, method, TOKENS, method.trainable(setup))
    language = setup.task in ("generation", "seq2seq")
    # Of the logits' memory the forward pass keeps the log-probabilities; the rest belongs to the backward pass.
    log_probabilities = ROWS * TOKENS * setup.model.vocabulary_size * 4 if language else 0
    return activations.kept_bytes + log_probabilities


@pytest.mark.parametrize(("name", "task"), CASES)
@pytest.mark.parametrize("method", ["lora", "ia3", "full"])
def test_kept_activations_are_near_what_autograd_keeps(tiny_models, name, task, method):
    """Predicted activations lie within 15 % of the saved tensors' distinct storages."""
    setup = _setup(tiny_models[name], task, method)
    kept = _kept_by_autograd(_attached(tiny_models[name], setup), setup)
    assert _predicted(setup) == pytest.approx(kept, rel=BOUND)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_weights_and_trained_parameters_are_exact(tiny_models, name, task):
    """Weights are every parameter once, in bytes; trained parameters are those that require gradients."""
    setup = _setup(tiny_models[name], task, "lora")
    method = get_method("lora")
    adapter = method.trainable(setup)
    activations = activation_bytes(setup, method, TOKENS, adapter)
    scoring = scoring_bytes(setup, TOKENS, ROWS)
    memory = memory_estimate(setup, method, adapter, activations, scoring, hardware().device)
    weights = sum(p.numel() * p.element_size() for p in _network(tiny_models[name], setup).parameters())
    trained = [p.numel() for p in _attached(tiny_models[name], setup).parameters() if p.requires_grad]
    assert memory.breakdown["weights"] == weights
    assert adapter + setup.model.head_parameters == sum(trained)
    assert memory.breakdown["gradients"] == 4 * sum(trained)
