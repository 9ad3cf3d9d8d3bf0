"""What methods keep from one run to the next, and what a seed decides: beyond the contract's losses."""

from dataclasses import replace

import torch

from autopeft.methods import get_method
from autopeft.methods._peft import task_type
from autopeft.profiling.model import read_model
from autopeft.testing._observe import attached, train
from autopeft.testing.cases import make_case


def _case(name, tiny_models, architecture="llama", task="generation"):
    return make_case(get_method(name), architecture, task, tiny_models[architecture], read_model)


def test_velora_goes_on_with_the_vector_it_had(tiny_models, tmp_path):
    """The vector that the first batch gave is in the file: loaded, the next batch does not give another one."""
    method, case = get_method("velora"), _case("velora", tiny_models)
    model = attached(method, case)
    train(method, model, case)
    method.save(model, tmp_path)
    loaded = method.load(case.build(), case.setup, tmp_path).train()
    found = {name: value.clone() for name, value in loaded.named_buffers() if "velora" in name}
    assert found
    assert all(value.any() for value in found.values())
    given = dict(case.batch())
    loaded(**{**given, "input_ids": given["input_ids"].flip(1)}).loss.backward()
    assert all(torch.equal(value, found[name]) for name, value in loaded.named_buffers() if name in found)


def test_shiras_entries_follow_the_seed(tiny_models, tmp_path):
    """Another seed draws other entries, and another weight has others; the file has those that trained."""
    method, case = get_method("shira"), _case("shira", tiny_models)

    def entries(model):
        return [m.shira_indices["default"] for m in model.modules() if hasattr(m, "shira_indices")]

    first, again, other = (entries(attached(method, case, seed=seed)) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert not torch.equal(first[0], next(e for e in first[1:] if e.shape == first[0].shape))
    model = attached(method, case)
    train(method, model, case)
    method.save(model, tmp_path)
    torch.manual_seed(7)
    loaded = method.load(case.build(), case.setup, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(entries(model), entries(loaded), strict=True))


def test_shira_runs_without_a_word_of_torch(tiny_models, monkeypatch):
    """A search's output is no place for what torch says of the sparse tensors that peft makes."""
    method, case = get_method("shira"), _case("shira", tiny_models)
    # torch speaks once in a process, and no more once it has been told: as if this were a new one.
    monkeypatch.setattr(torch.sparse.check_sparse_tensor_invariants, "is_enabled", lambda: False)
    told = []
    monkeypatch.setattr(torch.sparse.check_sparse_tensor_invariants, "disable", lambda: told.append("no checks"))
    attached(method, case)
    monkeypatch.setattr(torch.sparse.check_sparse_tensor_invariants, "is_enabled", lambda: True)
    attached(method, case)
    assert told == ["no checks"], "told where nobody has chosen, and left where somebody has"


def test_adaloras_penalty_is_in_the_loss_of_every_task_it_claims(tiny_models):
    """peft adds it where it has a class for the task; multiple choice has none and is not claimed."""
    method, setup = get_method("adalora"), _case("adalora", tiny_models).setup
    assert all(task_type(replace(setup, task=task)) for task in method.capabilities.tasks)
    assert "cannot train multiple-choice" in method.violations(replace(setup, task="multiple-choice"))[0]
