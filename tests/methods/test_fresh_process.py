"""What a method saves is enough for a process that knows nothing but the file and the setup."""

from dataclasses import replace
from functools import cache, partial

import pytest

from autopeft.errors import StudyError
from autopeft.methods import all_methods, get_method
from autopeft.profiling.model import read_model
from autopeft.testing import fresh
from autopeft.testing.cases import PLACES, altered, make_case, quantized
from autopeft.testing.contract import LOAD_TOLERANCE

ORDER = sorted(PLACES, key=lambda place: place != ("llama", "generation"))
"""Where to try a method: the first place that it can work in."""


@cache
def _read(folder, task, labels):
    return read_model(folder, task, labels)


def _place(method, tiny_models):
    for architecture, task in ORDER:
        case = make_case(method, architecture, task, tiny_models[architecture], _read)
        if not method.violations(case.setup):
            return case
        coded = altered(case, "nf4", quantization="nf4")
        if not method.violations(coded.setup):
            return replace(coded, build=partial(quantized, coded, "nf4"))
    raise AssertionError(f"{method.name} works nowhere.")


@pytest.mark.slow
def test_every_method_loads_in_a_fresh_process(tiny_models, tmp_path):
    """All methods are saved here and loaded by one other process, which gets the same logits from each."""
    for method in all_methods().values():
        fresh.leave(method, _place(method, tiny_models), tmp_path)
    found = fresh.differences(tmp_path)
    assert len(found) == len(all_methods())
    assert {name: apart for name, apart in found.items() if apart > LOAD_TOLERANCE} == {}


def test_what_a_process_only_remembers_does_not_count(tiny_models, tmp_path):
    """A method whose file lacks what was trained is found out, though it would load in the process that saved it."""
    lora = get_method("lora")
    forgetful = replace(lora, save=lambda model, folder: lora.save(_reset(model), folder))
    fresh.leave(forgetful, _place(lora, tiny_models), tmp_path)
    ((name, apart),) = fresh.differences(tmp_path).items()
    assert name == "lora-llama-generation"
    assert apart > 100 * LOAD_TOLERANCE


def _reset(model):
    from copy import deepcopy

    copied = deepcopy(model)
    for name, parameter in copied.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()
    return copied


def test_a_process_that_fails_is_heard(tiny_models, tmp_path):
    """An error in the other process is not taken for agreement."""
    case = _place(get_method("lora"), tiny_models)
    fresh.leave(get_method("lora"), case, tmp_path)
    (tmp_path / case.name / "saved" / "adapter_model.safetensors").unlink()
    with pytest.raises(StudyError, match="holds no saved adapter"):
        fresh.differences(tmp_path)
