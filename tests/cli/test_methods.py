"""`autopeft methods` prints what methods declare, and nothing else."""

import json

import pytest
from typer.testing import CliRunner

from autopeft.cli.main import app
from autopeft.cli.methods import domain, range_words
from autopeft.errors import InvalidValueError
from autopeft.methods import all_methods
from autopeft.tuning.space import Range

runner = CliRunner()


def _json(*arguments):
    result = runner.invoke(app, ["methods", *arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_the_catalogue_lists_every_method():
    """A method that is declared is listed, with its facts and its paper."""
    rows = _json()
    assert [row["name"] for row in rows] == list(all_methods())
    for row in rows:
        able = all_methods()[row["name"]].capabilities
        assert row["paper"]["address"].startswith("https://")
        assert (row["quantized_base"], row["mergeable"], row["adds_latency"], row["changes_base"]) == (
            able.quantized_base, able.mergeable, able.adds_latency, able.changes_base,
        )  # fmt: skip


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
    """Names are whole in a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = runner.invoke(app, ["methods"], catch_exceptions=False).stdout
    assert all(len(line) <= 80 for line in shown.splitlines())
    for name in all_methods():
        assert name in shown


def test_an_unknown_method_gets_a_close_match():
    """A name that is not in the catalogue is an error that offers the nearest one."""
    with pytest.raises(InvalidValueError, match="Did you mean 'lora'"):
        runner.invoke(app, ["methods", "lara"], catch_exceptions=False)


def test_ranges_read_as_words():
    """Numbers run from low to high, choices are listed, logarithmic scales are named."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    assert domain(IntDistribution(1, 64, log=True)) == "1 … 64 (log)"
    assert domain(IntDistribution(2, 8, step=2)) == "2 … 8 in steps of 2"
    assert domain(FloatDistribution(0.0, 0.5)) == "0 … 0.5"
    assert domain(CategoricalDistribution(("a", "b"))) == "a | b"
    assert range_words(Range(low=1e-4, high=1e-2, log=True)) == "0.0001 … 0.01 (log)"
    assert range_words(Range(choices=(4, 8))) == "4 | 8"
