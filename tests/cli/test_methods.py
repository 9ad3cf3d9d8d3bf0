"""`autopeft methods` prints what is declared, and nothing else."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autopeft.cli.catalogue import rows, served, share
from autopeft.cli.main import app
from autopeft.cli.methods import domain, range_words
from autopeft.cli.methods_markdown import document
from autopeft.cli.methods_view import share_words
from autopeft.cli.reference import seven_billion
from autopeft.errors import InvalidValueError
from autopeft.methods import all_methods, get_method
from autopeft.methods._omitted import OMITTED
from autopeft.optimizers import all_optimizers
from autopeft.quantization import all_quantizations
from autopeft.schedules import all_schedules
from autopeft.tuning.space import Range

runner = CliRunner()
DOCS = Path(__file__).parent.parent.parent / "docs" / "methods.md"


def _json(*arguments):
    result = runner.invoke(app, ["methods", *arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def _shown(monkeypatch, columns, *arguments):
    monkeypatch.setenv("COLUMNS", str(columns))
    return runner.invoke(app, ["methods", *arguments], catch_exceptions=False).stdout


def test_the_catalogue_lists_everything_once_with_its_kind():
    """What is declared is listed under its kind: methods, optimizers, quantization, and what is left out."""
    listed = [(row["kind"], row["name"]) for row in _json()]
    assert len(listed) == len(set(listed))
    assert {name for kind, name in listed if kind in ("method", "composition", "initialization")} == set(all_methods())
    assert [name for kind, name in listed if kind == "optimizer"] == list(all_optimizers())
    assert [name for kind, name in listed if kind == "schedule"] == list(all_schedules())
    assert [name for kind, name in listed if kind == "quantization"] == list(all_quantizations())
    assert [name for kind, name in listed if kind == "omitted"] == sorted(OMITTED)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("method", {"lora", "prefix_tuning", "houlsby_adapter", "full"}),
        ("composition", {"lora_prefix", "adapter_prompt"}),
        ("initialization", {"pissa", "olora", "eva", "corda", "lora_ga", "mica", "loftq", "lq_lora", "ir_qlora"}),
        ("optimizer", {"adamw", "galore", "lion", "lora_plus", "lora_fa", "adafactor", "paged_adamw_8bit"}),
        ("quantization", {"none", "int8", "nf4", "nf4-double", "fp4", "fp4-double"}),
    ],
)
def test_names_stand_under_the_kind_that_they_are(kind, names):
    """GaLore, LoRA+ and LoRA-FA are optimizers, PiSSA is an initialization of another method's modules."""
    assert names <= {row["name"] for row in rows() if row["kind"] == kind}


def test_a_methods_row_is_what_it_declares():
    """Facts and paper are the declaration's own."""
    for row in _json():
        if row["name"] not in all_methods():
            continue
        able = all_methods()[row["name"]].capabilities
        assert row["paper"]["address"].startswith("https://")
        assert (row["quantized_base"], row["mergeable"], row["adds_latency"], row["changes_base"]) == (
            able.quantized_base, able.mergeable, able.adds_latency, able.changes_base,
        )  # fmt: skip


def test_whoever_is_left_out_has_a_reason():
    """Nothing is omitted without a sentence, nor listed and omitted at once."""
    assert all(reason.endswith(".") and len(reason) > 20 for reason in OMITTED.values())
    assert not set(OMITTED) & set(all_methods())


def test_the_reference_model_has_the_published_size():
    """Llama 2 7B has 6,738,415,616 parameters; LoRA of rank 8 on all of its linear layers trains 19,988,480."""
    assert seven_billion().parameters == 6_738_415_616
    assert share(get_method("lora")) == pytest.approx(19_988_480 / 6_738_415_616)
    assert share(get_method("full")) == 1.0


def test_shares_are_of_what_can_be_trained():
    """A method that needs biases has no share of a model without; one that needs four bits is asked about them.

    Where the first seed is for another model, the next one speaks; only a method that cannot apply has none.
    """
    assert share(get_method("bitfit")) is None
    assert [name for name, method in all_methods().items() if share(method) is None] == ["bitfit"]
    assert share(get_method("loftq")) is not None
    shares = {None: "–", 1.0: "100 %", 0.00296: "0.3 %", 0.0000123: "0.0012 %", 1e-7: "<0.001 %"}
    assert [share_words(value) for value in shares] == list(shares.values())


def test_servers_are_those_that_take_the_result():
    """An adapter that servers know is served as it is, a mergeable one by anyone, any other by transformers."""
    assert served(get_method("lora")) == ("vLLM", "TGI", "llama.cpp")
    assert served(get_method("lokr")) == ("merged",)
    assert served(get_method("prefix_tuning")) == ("transformers",)


@pytest.mark.parametrize("name", list(all_methods()))
def test_a_methods_page_has_every_parameter_with_both_ranges(name):
    """What is legal and what is searched stand side by side, read from the declaration and the YAML file."""
    page = _json(name)
    assert list(page["parameters"]) == ["learning_rate", *all_methods()[name].legal]
    for ranges in page["parameters"].values():
        assert ranges["legal"]
        assert ranges["searched"]
    assert len(page["seeds"]) == len(all_methods()[name].seeds) > 0


def test_the_human_catalogue_fits_eighty_columns(monkeypatch):
    """Names, papers and marks are whole in a terminal of 80 columns, whatever is declared."""
    shown = _shown(monkeypatch, 80)
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "…" not in shown
    words = set(shown.split())
    for row in rows():
        assert row["name"] in words
    assert "2106.09685" in words


def test_a_wide_terminal_names_the_servers(monkeypatch):
    """With more room the letters for servers give way to their names."""
    assert "V T L" in _shown(monkeypatch, 80)
    assert "vLLM, TGI, llama.cpp" in _shown(monkeypatch, 130)


@pytest.mark.parametrize("name", ["lora", "bitfit", "lora_prefix", "galore", "adamw", "nf4", "none", *OMITTED])
def test_every_entry_has_a_page_of_eighty_columns(name, monkeypatch):
    """Parameters, legal domain, searched range and seeds of a method; what is declared of anything else."""
    shown = _shown(monkeypatch, 80, name)
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert name in shown
    if name == "lora":
        for words in ("1 … 1024 (log)", "4 | 8 | 16 | 32", "What is tried first", "rank 8, alpha 16", "0.3 %"):
            assert words in shown
    if name == "galore":
        assert "rank 16" in shown


def test_an_unknown_name_gets_a_close_match():
    """A name that is not in the catalogue is an error that offers the nearest one, of whatever kind."""
    for wrong, right in (("lara", "lora"), ("galor", "galore"), ("nf5", "nf4")):
        with pytest.raises(InvalidValueError, match=f"Did you mean '{right}'"):
            runner.invoke(app, ["methods", wrong], catch_exceptions=False)


def test_the_docs_page_is_current():
    """docs/methods.md is what `autopeft methods --markdown` prints; run it after changing a declaration."""
    printed = runner.invoke(app, ["methods", "--markdown"], catch_exceptions=False).stdout
    assert printed == document()
    assert DOCS.read_text(encoding="utf-8") == printed


def test_ranges_read_as_words():
    """Numbers run from low to high, choices are listed, logarithmic scales are named."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    assert domain(IntDistribution(1, 64, log=True)) == "1 … 64 (log)"
    assert domain(IntDistribution(2, 8, step=2)) == "2 … 8 in steps of 2"
    assert domain(FloatDistribution(0.0, 0.5)) == "0 … 0.5"
    assert domain(CategoricalDistribution(("a", "b"))) == "a | b"
    assert range_words(Range(low=1e-4, high=1e-2, log=True)) == "0.0001 … 0.01 (log)"
    assert range_words(Range(choices=(4, 8))) == "4 | 8"
