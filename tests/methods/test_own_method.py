"""A method from anybody's package, named by its import path, is a method like the others: with one file of code."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autopeft.errors import FileFormatError, InvalidValueError, NothingFitsError, unknown
from autopeft.estimation import estimate
from autopeft.methods import all_methods, get_method
from autopeft.profiling.model import read_model
from autopeft.recommend.suggest import suggest
from autopeft.testing.contract import ContractError
from autopeft.testing.suite import check_method
from autopeft.tuning.proposal import dimensions
from autopeft.tuning.space import load_space
from autopeft.values.candidates import Constraints, Setup
from tests.recommend.settings import hardware

EXAMPLES = Path(__file__).parents[2] / "examples"
PATH = "own_method.random_core"


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path_factory):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path_factory.getbasetemp() / "profiles"))


def test_the_example_keeps_the_contract(tmp_path):
    """One call runs every check on every tiny model, and a method that breaks a rule does not pass it."""
    method = get_method(PATH)
    module = sys.modules[PATH]
    assert len(check_method(module.METHOD, tmp_path / "whole")) == 5
    assert (method.name, module.METHOD.name) == (PATH, "random_core")
    broken = replace(module.METHOD, trainable=lambda setup: module.METHOD.trainable(setup) + 1)
    with pytest.raises(ContractError, match="`trainable` says"):
        check_method(broken, tmp_path / "broken")


def test_a_method_for_quantized_bases_alone_keeps_it_too(tmp_path):
    """What refuses every base in full precision is tried on bases in 4 bits, on each kind of model."""
    own = replace(get_method("lq_lora"), name="own_repair")
    assert len(check_method(own, tmp_path / "whole")) == 3
    undeclared = replace(own, capabilities=replace(own.capabilities, needs_quantized=False))
    with pytest.raises(ContractError, match="refuses every tiny model"):
        check_method(undeclared, tmp_path / "undeclared")
    unfounded = replace(
        get_method("lora"), name="own_lora", capabilities=replace(get_method("lora").capabilities, needs_quantized=True)
    )
    with pytest.raises(ContractError, match="needs a quantized base, but does not refuse another"):
        check_method(unfounded, tmp_path / "unfounded")


def test_it_is_suggested_estimated_and_counted_under_its_path(tiny_models):
    """What a suggestion names, the estimate and a tuned config find again."""
    limits = Constraints(methods=(PATH, "lora"))
    found = suggest(str(tiny_models["bert"]), task="classification", rows=500, tokens_per_row=32, constraints=limits)
    assert {s.candidate.method for s in found.candidates} == {PATH, "lora"}
    candidate = next(s.candidate for s in found.candidates if s.candidate.method == PATH)
    candidate = replace(candidate, parameters={**candidate.parameters, "rank": 16}, targets="all-linear")
    setup = Setup(
        model=read_model(str(tiny_models["bert"]), "classification"), task="classification", candidate=candidate
    )
    cost = estimate(setup, tokens_per_row=32, hardware=hardware())
    assert cost.trainable_parameters == 16**2 * 18 + setup.model.head_parameters


def test_what_is_legal_is_searched_where_no_file_says_otherwise(tmp_path):
    """Without a YAML the legal domain is the space; a file of its name in the user's folder narrows it."""
    drawn = dimensions(load_space(PATH))
    assert (drawn["rank"].searched.low, drawn["rank"].searched.high, drawn["rank"].integer) == (1, 256, True)
    assert drawn["scale"].searched.log
    assert drawn["learning_rate"].name == f"{PATH}.learning_rate"
    assert load_space(PATH, tmp_path) == load_space(PATH)
    narrow = (
        f"schema_version: 1\nmethod: {PATH}\nlearning_rate: {{low: 1.0e-3, high: 1.0e-2, log: true}}\n"
        "parameters:\n  rank: {choices: [4, 8]}\n  scale: {low: 0.5, high: 2.0}\n"
        "targets: [mlp]\nlayers: [all]\nquantization: [none]\noptimizer: [adamw]\nbatch_size: [16]\n"
    )
    (tmp_path / f"{PATH}.yaml").write_text(narrow)
    assert load_space(PATH, tmp_path).parameters["rank"].choices == (4, 8)
    (tmp_path / f"{PATH}.yaml").write_text(narrow.replace("[4, 8]", "[512]"))
    with pytest.raises(FileFormatError, match=r"`parameters.rank` must lie in the legal domain"):
        load_space(PATH, tmp_path)


WRONG = (
    ("own_method.random_cores", "an importable module or a catalogue name; got 'own_method.random_cores'"),
    ("nobodys.method", "Run from the folder it lies in, or put that folder on PYTHONPATH"),
    ("json.decoder", "a module that declares METHOD"),
)


@pytest.mark.parametrize(("path", "words"), WRONG)
def test_a_path_that_leads_to_no_method_is_said(path, words, tiny_models):
    """A module that is not there, and one that declares no method, are named with what to do."""
    with pytest.raises(InvalidValueError, match=words):
        get_method(path)
    with pytest.raises(InvalidValueError, match=words):
        suggest(
            str(tiny_models["bert"]), task="classification", rows=9, tokens_per_row=9,
            constraints=Constraints(methods=(path,)),
        )  # fmt: skip


def test_a_defect_inside_the_users_module_keeps_its_traceback(tmp_path, monkeypatch):
    """A missing import of theirs is theirs: it is not taken for a path that leads nowhere."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "method.py").write_text("import not_installed_anywhere\n")
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        get_method("theirs.method")


def test_a_composition_of_ones_own_is_refused_where_its_parts_collide(tmp_path, monkeypatch, tiny_models):
    """Any two methods can be put together from outside; which of them quarrel is said from the config alone."""
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "both.py").write_text(
        "from autopeft.methods import compose, get_method\n"
        "first, second = get_method('lora'), get_method('houlsby_adapter')\n"
        "METHOD = compose(first, second, name='both', title='both', paper=first.paper, summary='Both.',\n"
        "                 learning_rate=first.learning_rate, seeds=first.seeds)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(NothingFitsError, match="lora and houlsby_adapter collide: the second must stand before"):
        suggest(
            str(tiny_models["bert"]), task="classification", rows=9, tokens_per_row=9,
            constraints=Constraints(methods=("pairs.both",)),
        )  # fmt: skip


def test_the_command_finds_it_where_it_runs():
    """The installed command looks into the folder it is called from, after the installed packages."""
    command = str(Path(sys.executable).with_name("autopeft"))
    done = subprocess.run(
        [command, "methods", PATH, "--json"], cwd=EXAMPLES, capture_output=True, text=True, check=True
    )
    page = json.loads(done.stdout)
    assert page["name"] == PATH
    assert set(page["parameters"]) == {"learning_rate", "rank", "scale"}


def test_no_catalogue_name_looks_like_a_path():
    """A point tells a path from a name, so no name has one; a mistyped name still gets its close match."""
    assert not [name for name in all_methods() if "." in name]
    with pytest.raises(InvalidValueError, match="Did you mean 'mora'"):
        get_method("morra")
    assert "Did you mean 'lora'" in str(unknown("method", "x", "lara", all_methods()))
