"""What the methods that peft lacks owe beyond the contract: places, counts by hand, dtypes, files."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from autopeft.errors import FileFormatError, InvalidValueError, ModelError
from autopeft.methods import get_method
from autopeft.methods._bottleneck import Bottleneck
from autopeft.profiling.model import read_model
from autopeft.testing._observe import attached, classes, digests, logits, train, trainable_count, trainable_names
from autopeft.testing.cases import Case, altered, checkpointed, make_case

ADAPTERS = ("houlsby_adapter", "pfeiffer_adapter")
NATIVE = (*ADAPTERS, "bitfit", "full")
BOTTLENECK = 8
ADAPTER_SIZE = 2 * 48 * BOTTLENECK + BOTTLENECK + 48
"""Two matrices and two biases of one adapter on the tiny models, 48 wide."""

PLACES: dict[tuple[str, str], tuple[str, ...]] = {
    ("houlsby_adapter", "bert"): ("attention.output.dense", "output.dense"),
    ("houlsby_adapter", "llama"): ("self_attn.o_proj", "mlp.down_proj"),
    ("houlsby_adapter", "gpt2"): ("attn.c_proj", "mlp.c_proj"),
    ("houlsby_adapter", "t5"): ("SelfAttention.o", "EncDecAttention.o", "DenseReluDense.wo"),
    ("pfeiffer_adapter", "bert"): ("output.dense",),
    ("pfeiffer_adapter", "llama"): ("mlp.down_proj",),
    ("pfeiffer_adapter", "gpt2"): ("mlp.c_proj",),
    ("pfeiffer_adapter", "t5"): ("DenseReluDense.wo",),
}
COUNTS = {
    ("houlsby_adapter", "bert"): 6, ("houlsby_adapter", "llama"): 6, ("houlsby_adapter", "gpt2"): 6,
    ("houlsby_adapter", "t5"): 15, ("pfeiffer_adapter", "bert"): 3, ("pfeiffer_adapter", "llama"): 3,
    ("pfeiffer_adapter", "gpt2"): 3, ("pfeiffer_adapter", "t5"): 6,
}  # fmt: skip
TASKS: dict[str, Any] = {"bert": "classification", "llama": "generation", "gpt2": "generation", "t5": "seq2seq"}


@cache
def _read(folder: str, task: Any, labels: int) -> Any:
    return read_model(folder, task, labels or 1)


def case_of(name: str, architecture: str, folders: dict[str, Path]) -> Case:
    return make_case(get_method(name), architecture, TASKS[architecture], folders[architecture], _read)


def adapters(model: Any) -> list[str]:
    """The projections that have an adapter."""
    return [name.rpartition(".")[0] for name, module in model.named_modules() if isinstance(module, Bottleneck)]


@pytest.mark.parametrize(("name", "architecture"), COUNTS)
def test_adapters_stand_where_the_papers_put_them(name, architecture, tiny_models):
    """Houlsby: after each attention, cross-attention too, and each feed-forward; Pfeiffer: after the feed-forward."""
    case = case_of(name, architecture, tiny_models)
    found = adapters(attached(get_method(name), case))
    assert len(found) == COUNTS[name, architecture]
    assert all(place.endswith(PLACES[name, architecture]) for place in found)
    assert not any(architecture == "bert" and name == "pfeiffer_adapter" and "attention" in place for place in found)


@pytest.mark.parametrize(("name", "architecture"), COUNTS)
def test_adapters_are_counted_from_their_sizes(name, architecture, tiny_models):
    """The declared count is the arithmetic of the paper: 2md + d + m an adapter."""
    case = case_of(name, architecture, tiny_models)
    expected = COUNTS[name, architecture] * ADAPTER_SIZE
    assert get_method(name).trainable(case.setup) == expected
    assert trainable_count(attached(get_method(name), case)) == expected + case.setup.model.head_parameters


@pytest.mark.parametrize("architecture", TASKS)
@pytest.mark.parametrize("name", NATIVE)
def test_the_start_is_the_base_to_the_bit(name, architecture, tiny_models):
    """Attaching changes no bit of the output: the up-projection starts at zero, the others add nothing."""
    case = case_of(name, architecture, tiny_models)
    if get_method(name).violations(case.setup):
        assert (name, architecture) in {("bitfit", "llama"), ("bitfit", "t5")}
        return
    assert torch.equal(logits(case.build(), case), logits(attached(get_method(name), case), case))


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize(("layers", "indices"), [("last:1", {2}), ("every:2", {0, 2})])
def test_only_the_selected_layers_train(name, layers, indices, tiny_models):
    """`layers` keeps every other layer, the embeddings and the pooler frozen; the head trains."""
    case = altered(case_of(name, "bert", tiny_models), layers, layers=layers)
    model = attached(get_method(name), case)
    trained = {n for n in trainable_names(model) if not n.startswith("classifier")}
    assert {int(n.split(".layer.")[1].split(".")[0]) for n in trained} == indices
    assert {"classifier.weight", "classifier.bias"} <= trainable_names(model)
    head = case.setup.model.head_parameters
    assert trainable_count(model) == get_method(name).trainable(case.setup) + head


def test_resolved_gradient_layers_decide(tiny_models):
    """Once `gradient:K` has come to layers, those get the adapters, not the last K."""
    case = altered(case_of("pfeiffer_adapter", "bert", tiny_models), "g", layers="gradient:1", layer_indices=(1,))
    assert adapters(attached(get_method("pfeiffer_adapter"), case)) == ["bert.encoder.layer.1.output.dense"]


def test_bitfit_counts_the_biases_of_the_layers(tiny_models):
    """BERT has eight biases a layer: query, key, value, output, up, down and two norms."""
    case = case_of("bitfit", "bert", tiny_models)
    assert get_method("bitfit").trainable(case.setup) == 3 * (4 * 48 + 80 + 48 + 2 * 48)


def test_full_trains_everything(tiny_models):
    """Nothing of the model stays frozen, shared embeddings counted once."""
    for architecture in TASKS:
        case = case_of("full", architecture, tiny_models)
        model = attached(get_method("full"), case)
        assert all(parameter.requires_grad for parameter in model.parameters())
        assert get_method("full").trainable(case.setup) == trainable_count(model) - case.setup.model.head_parameters


@pytest.mark.parametrize("name", NATIVE)
def test_detach_brings_back_the_frozen_base_and_its_head(name, tiny_models):
    """After training, the model that was frozen before is frozen again, with its own head in place."""
    case = case_of(name, "bert", tiny_models)
    model = case.build().requires_grad_(requires_grad=False)
    head, before, modules = model.classifier, digests(model), classes(model)
    method = get_method(name)
    attached_model = method.apply(model, case.setup)
    train(method, attached_model, case)
    restored = method.detach(attached_model)
    assert restored is model
    assert restored.classifier is head
    assert not trainable_names(restored)
    assert classes(restored) == modules
    changed = {n for n, digest in digests(restored).items() if before[n] != digest}
    assert bool(changed) == method.capabilities.changes_base
    assert not any(n.startswith("classifier") for n in changed)


@pytest.mark.parametrize("name", ["bitfit", "full"])
def test_merge_keeps_what_was_trained(name, tiny_models):
    """The merged model is the plain task model with the trained weights and head."""
    case, method = case_of(name, "bert", tiny_models), get_method(name)
    model = attached(method, case)
    train(method, model, case)
    trained = model.classifier.weight.clone()
    assert method.merge is not None
    merged = method.merge(model)
    assert torch.equal(merged.classifier.weight, trained)
    with pytest.raises(ModelError, match="no method attached"):
        method.detach(merged)


@pytest.mark.parametrize("architecture", TASKS)
@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_learn(name, architecture, tiny_models):
    """The loss of a batch falls, with gradient checkpointing to the same values as without."""
    case, method = case_of(name, architecture, tiny_models), get_method(name)
    still = altered(case, "no dropout", parameters={"dropout": 0.0})
    plain = train(method, attached(method, still), still, steps=20)
    saving = checkpointed(still)
    kept = train(method, attached(method, saving), saving, steps=20)
    assert plain[-1] < plain[0] - 0.15
    assert kept == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_stay_float32_on_a_bfloat16_base(name, tiny_models):
    """Small updates are not lost to rounding: weights in float32, hidden states in the model's dtype."""
    case, method = case_of(name, "llama", tiny_models), get_method(name)
    model = method.apply(case.build().to(torch.bfloat16), case.setup)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert model(**case.batch()).logits.dtype == torch.bfloat16
    assert all(torch.isfinite(torch.tensor(train(method, model, case))))


def test_adapters_work_under_autocast(tiny_models):
    """Mixed precision changes the numbers a little and the dtypes of nothing that trains."""
    method, case = get_method("houlsby_adapter"), case_of("houlsby_adapter", "bert", tiny_models)
    model = attached(method, case)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(**case.batch()).loss
    loss.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_bottleneck_wider_than_the_model_is_refused(name, tiny_models):
    """A bottleneck must narrow; the sentence names the module whose width it exceeds."""
    case = altered(case_of(name, "llama", tiny_models), "wide", parameters={"bottleneck": 49})
    with pytest.raises(InvalidValueError, match=r"`bottleneck` is 49, above the width 48 after model\.layers\.0\."):
        get_method(name).apply(case.build(), case.setup)
    equal = altered(case, "equal", parameters={"bottleneck": 48})
    assert get_method(name).violations(equal.setup) == ()


def test_adapters_say_which_place_is_missing(tiny_models):
    """A model without feed-forward projections of its own, as with stacked experts, is refused by name."""
    case = case_of("houlsby_adapter", "llama", tiny_models)
    modules = tuple(m for m in case.setup.model.modules if m.role != "down")
    setup = replace(case.setup, model=replace(case.setup.model, modules=modules))
    assert get_method("houlsby_adapter").violations(setup) == (
        "The selected layers of llama have no feed-forward output projection.",
    )


def test_a_second_method_is_refused(tiny_models):
    """Two methods on one model would each take the other's state for the base's."""
    case = case_of("full", "bert", tiny_models)
    model = attached(get_method("full"), case)
    with pytest.raises(ModelError, match="attached already"):
        get_method("bitfit").apply(model, case_of("bitfit", "bert", tiny_models).setup)


def test_saved_files_hold_what_trained(tiny_models, tmp_path):
    """The file has exactly the trained tensors under their names, and says what they are."""
    case, method = case_of("pfeiffer_adapter", "bert", tiny_models), get_method("pfeiffer_adapter")
    model = attached(method, case)
    method.save(model, tmp_path)
    assert set(load_file(tmp_path / "trained.safetensors")) == trainable_names(model)
    assert json.loads((tmp_path / "trained.json").read_text()) == {
        "schema_version": 1, "method": "pfeiffer_adapter", "parameters": dict(case.setup.candidate.parameters),
        "layers": "all", "layer_indices": None,
    }  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["trained.json", "trained.safetensors"]


DAMAGE: dict[str, tuple[Any, str]] = {
    "missing": (lambda t: {n: v for n, v in t.items() if n != "classifier.bias"}, r"lacks classifier\.bias"),
    "extra": (lambda t: {**t, "other": torch.ones(1)}, "holds other, which the attached method does not train"),
    "shape": (
        lambda t: {**t, "classifier.bias": torch.ones(5)}, r"classifier\.bias .* shape \(3,\); got \(5,\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_load_is_strict(damage, tiny_models, tmp_path):
    """A tensor that is missing, unknown or of another shape is an error, and not silently left as it was."""
    case, method = case_of("pfeiffer_adapter", "bert", tiny_models), get_method("pfeiffer_adapter")
    method.save(attached(method, case), tmp_path)
    change, message = DAMAGE[damage]
    save_file(change(load_file(tmp_path / "trained.safetensors")), tmp_path / "trained.safetensors")
    with pytest.raises(ModelError, match=message):
        method.load(case.build(), case.setup, tmp_path)


def test_load_refuses_another_setups_files(tiny_models, tmp_path):
    """Weights saved under other parameters, or no weights at all, are refused with the reason."""
    case, method = case_of("pfeiffer_adapter", "bert", tiny_models), get_method("pfeiffer_adapter")
    with pytest.raises(FileFormatError, match=r"trained\.json does not exist"):
        method.load(case.build(), case.setup, tmp_path)
    method.save(attached(method, case), tmp_path)
    other = altered(case, "one layer", layers="last:1")
    with pytest.raises(ModelError, match=r"`layers` of .* must be 'last:1', as the setup has it; got 'all'"):
        method.load(case.build(), other.setup, tmp_path)
    (tmp_path / "trained.safetensors").unlink()
    with pytest.raises(ModelError, match=r"trained\.safetensors does not exist"):
        method.load(case.build(), case.setup, tmp_path)
