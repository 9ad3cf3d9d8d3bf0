"""What of a search space is searched on the model and the base at hand."""

from dataclasses import replace

import pytest

from autopeft.errors import FileFormatError
from autopeft.methods import all_methods, get_method
from autopeft.recommend.plans import smaller_schemes
from autopeft.tuning.proposal import proposal
from autopeft.tuning.space import load_space
from autopeft.values.candidates import Candidate
from autopeft.values.profiles import Device

START = Candidate(method="lora", learning_rate=1e-3)
SPACE = """
schema_version: 1
method: lora
learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}
parameters: {rank: {choices: [4]}, alpha: {choices: [16]}, dropout: {choices: [0.0]}}
targets: [qv]
layers: [all]
quantization: [none]
optimizer: [adamw]
batch_size: [16]
"""


def layers(start=START, depth=6, folder=None, **options):
    return proposal([start], depth, folder, **options).spaces[start.method].layers


def test_layers_are_searched_for_every_method_that_has_them():
    """All layers, the last ones, every other and those that the data pulls at; the method that peft ends has two."""
    searched = {name: load_space(name).layers for name in all_methods()}
    for name, method in all_methods().items():
        kinds = ("all", "last:1/2", "every:2", "gradient:1/2") if method.capabilities.takes_layers else ("all",)
        assert searched[name] == (kinds[:2] if name == "adaption_prompt" else kinds), name


def test_a_share_of_the_layers_becomes_their_number():
    """Half of seven layers are four, rounded up."""
    assert layers(depth=7) == ("all", "last:4", "every:2", "gradient:4")


@pytest.mark.parametrize("gradients", [False, True])
def test_layers_are_picked_by_gradients_where_there_are_any(gradients):
    """A quantized base, or a trainer of the user's own, gives no gradients to pick layers by."""
    start = replace(START, quantization="nf4") if gradients else START
    assert layers(start, gradients=gradients) == ("all", "last:3", "every:2")


def quantizations(folder=None, start=START, **options):
    return proposal([start], 6, folder, **options).spaces[start.method].quantization


def test_quantizations_that_a_file_names_are_searched(tmp_path):
    """A file that names none leaves the choice to the recommender, or to whoever asks for less memory."""
    path = tmp_path / "lora.yaml"
    path.write_text(SPACE)
    assert quantizations(tmp_path) == ("none",)
    assert quantizations(tmp_path, replace(START, quantization="nf4")) == ("nf4",)
    assert quantizations(tmp_path, stored=lambda start: (start.quantization, "int8")) == ("none", "int8")
    path.write_text(SPACE.replace("quantization: [none]", "quantization: [none, nf4]"))
    assert quantizations(tmp_path) == ("none", "nf4")
    assert layers(folder=tmp_path) == ("all",)
    path.write_text(path.read_text().replace("[all]", '[all, "gradient:1/3"]'))
    assert layers(folder=tmp_path) == ("all",), "a base that may be quantized gives no gradients to pick layers by"


def test_who_asks_for_less_memory_searches_smaller_bases():
    """One scheme of as many bits each, from the start's on; none for a method that trains the base itself."""
    cpu = Device(index=0, name="cpu", kind="cpu", total_memory_bytes=2**34, free_memory_bytes=2**34)
    lora, full = get_method("lora"), get_method("full")
    assert smaller_schemes(lora, cpu, "none") == ("none", "int8", "nf4")
    assert smaller_schemes(lora, cpu, "nf4") == ("nf4",)
    assert smaller_schemes(full, cpu, "none") == ("none",)


def test_a_space_with_nothing_left_is_refused(tmp_path):
    """A file whose only layers are picked by gradients cannot be searched on a quantized base."""
    (tmp_path / "lora.yaml").write_text(SPACE.replace("[all]", '["gradient:1/3"]'))
    assert layers(folder=tmp_path) == ("gradient:2",)
    with pytest.raises(FileFormatError, match=r"`layers` of the search space of lora .* got gradient:1/3"):
        layers(replace(START, quantization="nf4"), folder=tmp_path)


def test_the_schedule_of_a_space_is_drawn(tmp_path):
    """A schedule that a file names is what its candidates train with."""
    import optuna

    (tmp_path / "lora.yaml").write_text(f"{SPACE}schedule: [cosine]\n")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    assert proposal([START], 6, tmp_path).draw(study.ask()).schedule == "cosine"


@pytest.mark.parametrize(("rows", "at_once"), [(16, 16), (24, 12), (8, 8), (40, 10), (7, 7)])
def test_the_rows_of_a_space_are_the_rows_of_a_step(tmp_path, rows, at_once):
    """Rows per step that the start's micro-batch does not divide are taken in smaller ones, and none is left out."""
    import optuna

    (tmp_path / "lora.yaml").write_text(SPACE.replace("batch_size: [16]", f"batch_size: [{rows}]"))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = proposal([START], 6, tmp_path).draw(study.ask())
    assert (drawn.batch_size, drawn.batch_size * drawn.accumulation) == (at_once, rows)


@pytest.mark.parametrize(("named", "meant"), [("attenion", "attention"), ("all_linear", "all-linear")])
def test_a_misspelt_group_of_targets_is_no_module(tmp_path, named, meant):
    """A group but for a letter is refused with the group that is meant; modules have names of their own."""
    (tmp_path / "lora.yaml").write_text(SPACE.replace("[qv]", f"[{named}]"))
    with pytest.raises(FileFormatError, match=rf"`targets` must be .*; got '{named}'\. Did you mean '{meant}'\?"):
        load_space("lora", tmp_path)


def test_modules_are_targets_by_their_names(tmp_path):
    """Names that share letters with a group are modules' all the same."""
    (tmp_path / "lora.yaml").write_text(SPACE.replace("[qv]", '[qkv, c_attn, "q_proj, v_proj", self_attention]'))
    assert load_space("lora", tmp_path).targets == ("qkv", "c_attn", "q_proj, v_proj", "self_attention")
