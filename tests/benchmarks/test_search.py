"""The benchmark of real searches runs every contender on the same runner, and goes on where it stood."""

import math
from dataclasses import replace

import pytest

from benchmarks import search as benchmark
from benchmarks._contenders import CONTENDERS
from benchmarks._search_rows import Row, gain_table, gains, read_rows, table, write_results
from benchmarks._search_tasks import TEST_SHARE
from benchmarks.search import Heat, Plan, run
from tests.toys import classification_csv

QUICK = ("default LoRA", "random search")
ROWS = 120


def toy(tiny_models, folder, seconds) -> Heat:
    """A heat of a tiny model."""
    return Heat(
        task=f"{tiny_models['bert']}:{classification_csv(folder / 'toy.csv', rows=ROWS)}", seed=0, seconds=seconds
    )


def plan(folder, **changes) -> Plan:
    return Plan(**{"threads": 1, "path": folder / "search.jsonl", "work": folder / "work", **changes})


@pytest.fixture(scope="module")
def measured(tiny_models, tmp_path_factory):
    """Two contenders, measured for a moment."""
    folder = tmp_path_factory.mktemp("benchmark")
    heat = toy(tiny_models, folder, 2.0)
    return folder, heat, list(run(plan(folder), [heat], QUICK))


@pytest.mark.slow
def test_every_contender_is_measured_alike(tiny_models, tmp_path):
    """All are scored on the same test rows after the same tokens, and none took much more than its seconds."""
    heat = toy(tiny_models, tmp_path, 20.0)
    rows = list(run(plan(tmp_path, jobs=2), [heat], list(CONTENDERS)))
    assert {row.contender for row in rows} == set(CONTENDERS)
    assert {row.test_rows for row in rows} == {TEST_SHARE * ROWS}
    assert max(row.tokens for row in rows) < 1.3 * min(row.tokens for row in rows)  # batches of other sizes
    assert all(row.taken < 2 * row.seconds for row in rows)
    by_name = {row.contender: row for row in rows}
    assert by_name["default LoRA"].taken == 0.0
    for name in ("autopeft", "Optuna TPE + Hyperband", "random search"):
        assert by_name[name].completed >= 1


def test_what_is_measured_is_not_run_again(measured, monkeypatch):
    """A benchmark that is started again runs what is missing and nothing else."""
    folder, heat, rows = measured
    assert [row.key for row in read_rows(folder / "search.jsonl")] == [row.key for row in rows]
    monkeypatch.setattr(benchmark, "measure", lambda *_: pytest.fail("nothing is missing"))
    assert list(run(plan(folder), [heat], QUICK)) == []


def test_rows_of_other_settings_are_not_mixed(measured, tmp_path):
    """Trials are sized by a speed measured once; without it what is missing would train for another time."""
    folder, heat, _ = measured
    assert list(folder.glob("settings/**/search.json"))
    (tmp_path / "search.jsonl").write_text((folder / "search.jsonl").read_text().splitlines()[0] + "\n")
    with pytest.raises(SystemExit, match=r"no search\.json, and trials of another length"):
        list(run(plan(tmp_path), [heat], QUICK))


def test_rows_of_other_threads_are_not_mixed(measured):
    """A contender with two threads trains more in its seconds than one with one."""
    folder, heat, _ = measured
    with pytest.raises(SystemExit, match="begun with 1 threads for each contender, and now each has 2"):
        list(run(plan(folder, threads=2), [heat], [*QUICK, "autopeft"]))


def test_results_are_written(measured):
    """The page has a table and a chart for each task."""
    folder, _, rows = measured
    write_results(rows, folder / "results")
    assert "| random search |" in (folder / "results" / "search.md").read_text()
    assert len(list((folder / "results").glob("search-*.svg"))) == 1


def row(contender, test, seed=0, **facts) -> Row:
    from autopeft.values.candidates import Candidate

    made = Row(
        task="a:b", seed=seed, seconds=60.0, contender=contender, metric="accuracy", lower_is_better=False, taken=60.0,
        trials=5, completed=2, config=Candidate(method="ia3", learning_rate=1e-3), validation=test, test=test,
        test_rows=100, tokens=1000, threads=1,
    )  # fmt: skip
    return replace(made, **facts)


@pytest.mark.parametrize(("lower", "expected"), [(False, 0.1), (True, -0.1)])
def test_gains_are_paired_by_seed_and_follow_the_metric(lower, expected):
    """A gain is within a task and a seed, positive where the contender is better."""
    rows = [
        row(name, test + seed, seed, lower_is_better=lower)
        for seed in range(3)
        for name, test in (("autopeft", 0.9), ("default LoRA", 0.8))
    ]
    assert gains(rows)["autopeft", "default LoRA", 60.0].value == pytest.approx(expected)


def test_this_projects_search_is_compared_with_the_others_too():
    """They are compared with the baselines alone, which are compared with nothing."""
    rows = [row(name, test) for name, test in (("autopeft", 0.9), ("raced LoRA", 0.8), ("random search", 0.7))]
    found = {key[:2]: round(gain.value, 3) for key, gain in gains(rows).items()}
    assert found == {
        ("autopeft", "raced LoRA"): 0.1, ("autopeft", "random search"): 0.2, ("random search", "raced LoRA"): -0.1
    }  # fmt: skip


def test_a_table_says_how_many_seeds_stand_behind_a_mean():
    """Mean, interval and number of seeds."""
    text = table([row("autopeft", 0.9), row("autopeft", 0.7, 1)])
    assert "### a:b, accuracy on 100 test rows" in text
    assert "| autopeft | 0.8000 (0.7000–0.9000, 2) |" in text
    assert "| autopeft | 0.9000 (one seed) |" in table([row("autopeft", 0.9)])


def test_perplexities_are_compared_on_their_logarithm():
    """A gain is a difference of losses in nats: one model that diverged would outweigh all others in a mean."""
    facts = {"metric": "perplexity", "lower_is_better": True}
    rows = [row("autopeft", math.exp(2.0), **facts), row("default LoRA", math.exp(5.5), **facts)]
    assert gains(rows)["autopeft", "default LoRA", 60.0].value == pytest.approx(3.5)
    assert "| default LoRA | 5.5000 (one seed) |" in table(rows)
    assert "Gain in log perplexity" in gain_table(rows)
    assert "+3.5000 (one pair) |" in gain_table(rows), "which says nothing of how pairs differ"
