"""What stands frozen beside a base: where it lies, and that it comes back as what was trained beside it."""

import pytest
import torch
from safetensors.torch import save_file

from autopeft.errors import ModelError
from autopeft.methods import get_method
from autopeft.methods._injected import beside_weights
from autopeft.profiling.model import read_model
from autopeft.testing._observe import attached, difference, logits, train
from autopeft.testing.cases import make_case


def case_of(name, tiny_models, architecture="llama", task="generation"):
    return make_case(get_method(name), architecture, task, tiny_models[architecture], read_model)


def saved(name, tiny_models, folder, architecture="llama"):
    """(case, logits of a trained model that the folder has)."""
    method, case = get_method(name), case_of(name, tiny_models, architecture)
    model = attached(method, case)
    train(method, model, case)
    method.save(model, folder)
    return case, logits(model, case)


def _turned(values):
    """Every other direction the other way, as another library may find it."""
    return values * torch.tensor([1.0, -1.0]).repeat(len(values))[: values.shape[-1]]


def test_psoft_rotates_the_directions_it_was_trained_on(tiny_models, tmp_path, monkeypatch):
    """Singular vectors have no sign: found anew on another device, they would be rotated among others."""
    from peft.tuners.psoft import PsoftLayer

    case, expected = saved("psoft", tiny_models, tmp_path)
    original = PsoftLayer._compute_svd_factors

    def elsewhere(self, *arguments, **options):
        left, values, right = original(self, *arguments, **options)
        return _turned(left), values, _turned(right.T).T

    monkeypatch.setattr(PsoftLayer, "_compute_svd_factors", elsewhere)
    method = get_method("psoft")
    assert difference(logits(method.load(case.build(), case.setup, tmp_path), case), expected) < 1e-5
    (tmp_path / "psoft_factors.safetensors").unlink()
    with pytest.raises(ModelError, match="turn other directions"):
        method.load(case.build(), case.setup, tmp_path)


def test_psofts_factors_of_another_model_are_refused(tiny_models, tmp_path):
    """A file that fits no layer is named, instead of failing inside a library."""
    case, _ = saved("psoft", tiny_models, tmp_path)
    save_file({"somewhere.A": torch.zeros(2, 3)}, tmp_path / "psoft_factors.safetensors")
    with pytest.raises(ModelError, match="holds other factors"):
        get_method("psoft").load(case.build(), case.setup, tmp_path)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_frod_finds_its_outputs_in_the_basis_it_was_trained_in(architecture, tiny_models, tmp_path, monkeypatch):
    """The basis of the inputs is in the file; what peft computes from one made anew is computed from it again."""
    from peft.tuners.frod import model as frod

    case, expected = saved("frod", tiny_models, tmp_path, architecture)
    original = frod._projection_from_weights
    monkeypatch.setattr(frod, "_projection_from_weights", lambda *given: _turned(original(*given)).flip(1))
    loaded = get_method("frod").load(case.build(), case.setup, tmp_path)
    assert difference(logits(loaded, case), expected) < 1e-4


def test_buffers_lie_where_the_weights_do(tiny_models):
    """What peft makes in main memory goes to the weights' device: else every step copies it there again."""
    from peft.tuners.boft.layer import BOFTLayer

    model = attached(get_method("boft"), case_of("boft", tiny_models))
    layer = next(module for module in model.modules() if isinstance(module, BOFTLayer))
    layer.get_base_layer().to("meta")
    assert layer.boft_P.device.type == "cpu"
    beside_weights(model, BOFTLayer)
    assert layer.boft_P.device.type == "meta"


@pytest.mark.parametrize("name", ["boft", "frod"])
def test_attaching_leaves_no_matrix_in_main_memory(name, tiny_models, monkeypatch):
    """Both methods whose frozen matrices peft leaves there move them, those that layers share too."""
    from autopeft.methods import _injected

    moved = []
    monkeypatch.setattr(_injected, "move_buffers", lambda module, device: moved.append((module, device)))
    model = attached(get_method(name), case_of(name, tiny_models))
    within = {id(buffer) for module, _ in moved for buffer in module.buffers()}
    matrices = [b for key, b in model.named_buffers() if "boft_P" in key or "frod_U" in key or "frod_V" in key]
    assert matrices
    assert all(id(buffer) in within for buffer in matrices)
    assert {device.type for _, device in moved} == {"cpu"}
