"""Every method of the catalogue keeps the contract on every tiny model it claims."""

from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path

import pytest

from autopeft import resources
from autopeft.methods import all_methods
from autopeft.profiling.model import read_model
from autopeft.testing import contract
from autopeft.testing.cases import PLACES, QUANTIZED_PLACES, SCHEMES, Case, awkward, make_case, quantized
from autopeft.values.names import Task
from autopeft.values.profiles import ModelProfile

LEAST = 60
"""Methods that discovery must find at least; each has a search space of its name beside it."""
REFUSED = {
    ("adamss", "gpt2-generation"), ("adapter_prompt", "llama-classification"),
    ("adaption_prompt", "bert-classification"), ("adaption_prompt", "llama-classification"),
    ("adaption_prompt", "t5-seq2seq"), ("bdlora", "gpt2-generation"),
    ("beft", "gpt2-generation"), ("bitfit", "llama-classification"),
    ("bitfit", "llama-generation"), ("bitfit", "t5-seq2seq"), ("boft", "gpt2-generation"), ("c3a", "gpt2-generation"),
    ("cartridge", "bert-classification"), ("cartridge", "t5-seq2seq"), ("delora", "gpt2-generation"),
    ("glora", "gpt2-generation"), ("hra", "gpt2-generation"), ("ir_qlora", "gpt2-generation"),
    ("lily", "gpt2-generation"), ("loftq", "gpt2-generation"), ("loha", "gpt2-generation"),
    ("lokr", "gpt2-generation"), ("lq_lora", "gpt2-generation"), ("miss", "gpt2-generation"),
    ("oft", "gpt2-generation"), ("osf", "gpt2-generation"), ("p_tuning", "llama-classification"),
    ("peanut", "gpt2-generation"), ("prompt_tuning", "llama-classification"), ("psoft", "gpt2-generation"),
    ("road", "gpt2-generation"), ("shira", "gpt2-generation"), ("supertuning", "gpt2-generation"),
    ("trainable_tokens", "bert-classification"), ("trainable_tokens", "llama-classification"),
    ("trainable_tokens", "t5-seq2seq"),
}  # fmt: skip
"""No biases; no layers for transposed weights; no last token behind a prompt. Everything else must work."""
EVERYTHING = {"bert-classification", "llama-generation"}
"""Places where all checks run; the others run those that a different structure can break."""
STRUCTURAL = (
    contract.check_violations_match_apply,
    contract.check_effective_parameters,
    contract.check_trainable_count,
    contract.check_only_declared_parameters_train,
    contract.check_detach_restores,
    contract.check_merge,
)
PAIRS = [(name, *place) for name in all_methods() for place in PLACES]


@cache
def _read(folder: str, task: Task, labels: int) -> ModelProfile:
    return read_model(folder, task, labels or 1)


def _case(name: str, architecture: str, task: Task, folders: Mapping[str, Path]) -> Case:
    return make_case(all_methods()[name], architecture, task, folders[architecture], _read)


def _refused(name: str, architecture: str, task: Task) -> bool:
    return (name, f"{architecture}-{task}") in REFUSED


def test_the_tiny_models_differ_in_what_breaks_methods(tiny_models):
    """Grouped-query attention, tied embeddings, fused and transposed weights, biases and none: all sizes different."""
    read = {name: _read(str(tiny_models[name]), task, 3) for name, task in PLACES if task != "classification"}
    read["bert"] = _read(str(tiny_models["bert"]), "classification", 3)
    assert read["llama"].key_value_heads < read["llama"].attention_heads
    assert {name: model.tied_embeddings for name, model in read.items()} == {
        "bert": True, "llama": False, "gpt2": True, "t5": True,
    }  # fmt: skip
    assert {"qkv"} <= {m.role for m in read["gpt2"].modules if m.kind == "conv1d"}
    layers = {name: [m for m in model.modules if m.layer is not None] for name, model in read.items()}
    assert {name: any(m.bias for m in own) for name, own in layers.items()} == {
        "bert": True, "llama": False, "gpt2": True, "t5": False,
    }  # fmt: skip
    for model in read.values():
        widths = (model.hidden_size, model.feed_forward_size, model.vocabulary_size)
        assert len(set(widths)) == 3
    keys = {m.out_features for m in layers["llama"] if m.role == "key"}
    assert keys.isdisjoint({read["llama"].hidden_size, read["llama"].feed_forward_size})


def test_the_catalogue_holds_every_method():
    """A method whose file is there is under contract and has a search space; none is listed by hand."""
    assert set(all_methods()) == {path.stem for path in resources.search_spaces().glob("*.yaml")}
    assert len(all_methods()) >= LEAST


@pytest.mark.parametrize("name", all_methods())
def test_facts(name):
    """What a method declares is complete, legal, and agrees with its search space."""
    contract.check_facts(all_methods()[name])


@pytest.mark.parametrize(("name", "architecture", "task"), PAIRS)
def test_contract(name, architecture, task, tiny_models):
    """A method keeps the contract where it works, and says so beforehand where it does not."""
    method, case = all_methods()[name], _case(name, architecture, task, tiny_models)
    refused = _refused(name, architecture, task)
    assert bool(method.violations(case.setup)) == refused, method.violations(case.setup)
    if refused:
        contract.check_violations_match_apply(method, case)
        return
    for check in contract.CHECKS if f"{architecture}-{task}" in EVERYTHING else STRUCTURAL:
        check(method, case)


@pytest.mark.parametrize("name", all_methods())
def test_awkward_setups_are_refused_or_work(name, tiny_models):
    """Mistaken and odd setups are refused in words, or they train: never a failure inside a library."""
    method = all_methods()[name]
    found = awkward(_case(name, "bert", "classification", tiny_models))
    assert len(found) >= 8
    for case in found:
        contract.check_violations_match_apply(method, case)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", all_methods())
def test_quantized_base(name, scheme, tiny_models):
    """A method works on a quantized base exactly where it claims to, on every kind of model that it works on."""
    method = all_methods()[name]
    places = [place for place in QUANTIZED_PLACES if not _refused(name, *place)]
    elsewhere: list[tuple[str, Task]] = [("gpt2", "generation")]
    for number, (architecture, task) in enumerate(places or elsewhere):
        case = _case(name, architecture, task, tiny_models)
        contract.check_quantized_base(method, case, scheme, partial(quantized, case, scheme), briefly=number > 0)


@pytest.mark.parametrize("task", ["token-classification", "multiple-choice"])
@pytest.mark.parametrize("name", all_methods())
def test_tasks_that_no_place_has_train_where_they_are_claimed(name, task, tiny_models):
    """Libraries have code of their own for some tasks: whoever claims one takes a step in it, or says why not."""
    contract.check_violations_match_apply(all_methods()[name], _case(name, "bert", task, tiny_models))
