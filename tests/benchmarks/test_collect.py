"""The collection measures a design that does not depend on when it was stopped, and loses no outcome."""

import csv

from autopeft.methods import get_method
from autopeft.recommend.evidence import read_runs
from benchmarks import _sample as sample
from benchmarks import collect
from tests.recommend.test_evidence import a_run


def test_the_sample_is_the_same_however_much_is_asked_for():
    """A setting's candidates do not change when more settings follow, so that a stopped collection goes on."""
    assert sample.settings(["a", "b"], ["c"], 4, 7) == sample.settings(["a", "b"], ["c"], 16, 7)[:4]
    first = [list(sample.candidates(index, 4, 5, 7)) for index in range(3)]
    assert first == [list(sample.candidates(index, 4, 5, 7)) for index in range(3)]
    assert first[0][2:] != first[1][2:]
    assert all(part[0] == first[0][0] for part in first)


def test_the_sample_reaches_every_method_within_its_legal_domain():
    """Every candidate is one that its method's declaration allows."""
    found = [one for index in range(40) for one in sample.candidates(index, 4, 8, 0)]
    assert {one.method for one in found} == set(sample.METHODS)
    for one in found:
        method = get_method(one.method)
        assert method.learning_rate.low <= one.learning_rate <= method.learning_rate.high
        assert all(
            method.legal[key]._contains(method.legal[key].to_internal_repr(v)) for key, v in one.parameters.items()
        )


def test_a_collection_goes_on_where_it_stood(tiny_models, tmp_path, monkeypatch):
    """Every outcome is a valid row, the default recipe first; what is in the file is not run again."""
    data = tmp_path / "data.csv"
    with data.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows((f"{word} number {i}", word) for i in range(40) for word in ("good", "bad"))
    monkeypatch.setattr(collect, "cut_model", lambda *_: tiny_models["bert"])
    monkeypatch.setattr(collect, "fetch", lambda *_: data)
    monkeypatch.setattr(sample, "TOKENS", (200, 400))
    path = tmp_path / "runs.jsonl"
    given = [str(path), "--only", "model=minilm-2", "--only", "data=vader-movies", "--settings", "1"]
    collect.collect(collect.arguments([*given, "--per-setting", "3", "--seconds", "0"]))
    assert not path.exists()
    collect.collect(collect.arguments([*given, "--per-setting", "3"]))
    runs = read_runs(path)
    assert [run.reference for run in runs] == [True, False, False]
    assert len({run.setting for run in runs}) == 1
    assert all(run.quality is None or run.quality.metric == "validation_loss" for run in runs)
    assert runs[0].status == "completed"
    collect.collect(collect.arguments([*given, "--per-setting", "3"]))
    assert read_runs(path) == runs


def test_a_line_that_a_crash_has_cut_short_is_measured_anew(tmp_path):
    """The rest of the file is read, the half line is gone from it, and a whole one without its end stays."""
    path = tmp_path / "runs.jsonl"
    assert collect.held_runs(path) == ()
    for name in ("one", "two"):
        collect.keep(path, a_run(name=name))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert [run.name for run in collect.held_runs(path)] == ["one", "two"]
    assert path.read_bytes() == whole
    path.write_bytes(whole[:-1])
    assert [run.name for run in collect.held_runs(path)] == ["one", "two"]
    collect.keep(path, a_run(name="three"))
    assert [run.name for run in read_runs(path)] == ["one", "two", "three"]
