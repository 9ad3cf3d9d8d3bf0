"""A pool draws the same runs each time, reads them at every share, and compares with plain LoRA at its best rate."""

import sys
from dataclasses import replace
from itertools import islice

import pytest

from autopeft.recommend.evidence import read_runs
from autopeft.tuning.compare import RACED_RATES
from benchmarks import pool as benchmark
from benchmarks._arms import pools
from benchmarks._others import has_race
from tests.toys import classification_csv


@pytest.fixture(scope="module")
def asked(tiny_models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    data = classification_csv(folder / "toy.csv", rows=120)
    return folder, f"{tiny_models['bert']}:{data}"


def collected(asked, runs, monkeypatch):
    """The runs of a file that the script was asked to fill to so many."""
    folder, task = asked
    path = folder / "pool.jsonl"
    line = ["pool", task, "--runs", str(runs), "--tokens", "600", "--work", str(folder), "--output", str(path)]
    monkeypatch.setattr(sys, "argv", line)
    benchmark.main()
    return path, list(read_runs(path))


def test_a_pool_begins_with_a_race_and_goes_on_where_it_stood(asked, monkeypatch):
    """Runs that the file holds are not run again; each is read at every share, and one of the race is the reference."""
    _, first = collected(asked, 3, monkeypatch)
    assert [run.reference for run in first] == [False] * 3  # the race is not over
    path, runs = collected(asked, 6, monkeypatch)
    assert [replace(run, reference=False) for run in runs[:3]] == first
    assert [run.learning_rate for run in runs[:4]] == list(RACED_RATES)
    (reference,) = (run for run in runs if run.reference)
    assert reference.quality.curve[-1].validation_loss == min(run.quality.curve[-1].validation_loss for run in runs[:4])
    assert all(len(run.quality.curve) == len(benchmark.READINGS) for run in runs)
    assert all({"validation_accuracy", "macro_f1"} <= run.quality.others.keys() for run in runs)
    monkeypatch.setattr("benchmarks._arms.LEAST_ARMS", 6)
    (found,) = pools([path], [])
    assert has_race(found, RACED_RATES)


def test_the_draws_are_the_same_each_time(asked):
    """A pool that goes on later draws what it would have drawn."""
    folder, task = asked
    made = benchmark.Pool(benchmark.Asked(task=task, tokens=600, seed=0, work=folder, device=None, threads=1))
    assert list(islice(made.candidates(), 20)) == list(islice(made.candidates(), 20))
