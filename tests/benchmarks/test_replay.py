"""A replay keeps the books: time passes as recorded, and every search picks from what it has seen."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from autopeft import resources
from autopeft.recommend.evidence import read_runs
from autopeft.tuning import halving
from autopeft.tuning.starts import HOTTER
from autopeft.values.candidates import Candidate
from autopeft.values.plans import Plan
from benchmarks import _advice, _others, _ours
from benchmarks._arms import LEAST_ARMS, Arm, Pool, pools
from benchmarks._intervals import Mean, mean
from benchmarks._replay_page import ADVISED, BUDGETS, LONG, OPTUNA, RACE, SHORT, Line, table, together
from benchmarks._samplers import LEAST_RACING, AllocatedSampler, RandomSampler, TpeSampler, grouped_tpe, starts
from benchmarks._signals import signal_quality
from benchmarks.replay import SEARCHES, lines, quarters, regrets

SECONDS = 100.0


def arm(number, value, loss_at_start):
    """A run whose loss falls in a straight line to one minus its value."""
    curve = tuple((step / 20, loss_at_start + (1 - value - loss_at_start) * step / 20) for step in range(1, 21))
    return Arm(
        name=f"run {number}", method=f"m{number % 4}", learning_rate=10 ** (-4 + number / 10),
        trainable_parameters=1000 + number, seconds=SECONDS, value=value, curves={"train_loss": curve},
    )  # fmt: skip


@pytest.fixture(scope="module")
def pool():
    """Thirty runs whose loss tells their quality from the first reading on."""
    generator = random.Random(0)
    values = [generator.uniform(0.2, 0.5) for _ in range(29)] + [0.8]
    return Pool(name="made up", arms=tuple(arm(n, value, 1.5 - value) for n, value in enumerate(values)))


def test_time_passes_as_recorded(pool):
    """A run read at a quarter takes that of its time and the reading's, and going on from there only the rest."""
    clock = _ours.Clock()
    runner = _ours.RecordedRunner(pool, "train_loss", clock, seed=0)
    plan = Plan(tokens=_ours.TOKENS, readings=(0.25, 0.5, 1.0))
    candidate = Candidate(method="run 3", learning_rate=1e-3)
    read, scored = SECONDS * _ours.READING, SECONDS * _ours.SCORING
    first = runner.run(0, candidate, plan, lambda _: True, 1e9, None)
    assert (first.status, len(first.curve)) == ("pruned", 1)
    assert clock.now == pytest.approx(25.0 + read)
    second = runner.run(1, candidate, plan, lambda _: False, 1e9, first)
    assert (second.status, len(second.curve)) == ("completed", 3)
    assert clock.now == pytest.approx(100.0 + 3 * read + scored)
    runner.keep(())
    began = clock.now
    runner.run(2, candidate, plan, lambda _: False, 1e9, first)
    assert clock.now - began == pytest.approx(100.0 + 2 * read + scored)  # its state was forgotten: it began anew


def test_no_time_passes_beyond_the_deadline(pool):
    """A run that would pass the deadline ends there as timed out."""
    clock = _ours.Clock()
    runner = _ours.RecordedRunner(pool, "train_loss", clock, seed=0)
    plan = Plan(tokens=_ours.TOKENS, readings=(0.25, 1.0))
    outcome = runner.run(0, Candidate(method="run 0", learning_rate=1e-3), plan, lambda _: False, 60.0, None)
    assert (clock.now, outcome.status, outcome.score, len(outcome.curve)) == (60.0, "timed_out", None, 1)


def test_the_search_finds_what_its_readings_show(pool):
    """Where the first reading tells the quality, the search's own loop finds the best of thirty in twenty trainings."""
    picked = _ours.play(pool, RandomSampler(pool, 1), 20 * SECONDS, signal="train_loss", seed=1)
    assert picked is not None
    assert picked.value == 0.8
    trace = _others.play(
        pool, RandomSampler(pool, 1), _others.never(), 20 * SECONDS, shares=(1.0,), signal="train_loss", seed=1
    )
    assert trace.moments[-1] <= 20 * SECONDS  # without pruning that many trainings are that many runs


def test_another_reduction_is_undone(pool):
    """A variant of the share that goes on is the search's own again when it is done."""
    before = vars(halving)["REDUCTION"]
    _ours.play(pool, RandomSampler(pool, 1), 2 * SECONDS, signal="train_loss", seed=1, readings=(0.1, 1.0), reduction=2)
    assert vars(halving)["REDUCTION"] == before


def test_stopping_keeps_the_best_third():
    """Of nine readings in ascending order the rule stops all but those in the best third when they are read."""
    stops = _others.best_third(3)
    assert [stops(0, float(value)) for value in range(9)] == [False, *[True] * 8]
    stops = _others.best_third(3)
    assert [stops(0, float(-value)) for value in range(9)] == [False] * 9


def test_a_pick_is_the_best_completed_run_so_far():
    """Before any run completed it is the furthest; afterwards only a better completed one replaces it."""
    one, other = arm(0, 0.3, 1.2), arm(1, 0.4, 1.1)
    trace = _others.Trace()
    trace.add(10.0, one, 0.25, -1.0)
    trace.add(20.0, other, 1.0, 0.4)
    trace.add(30.0, one, 1.0, 0.3)
    assert [trace.at(moment) for moment in (5.0, 10.0, 25.0, 99.0)] == [None, one, other, other]


@pytest.mark.parametrize("name", sorted(set(SEARCHES) - {RACE}))
def test_every_search_repeats_itself_and_proposes_no_run_twice(pool, name):
    """The same seed gives the same regrets, and with time for all runs none is worse than the noise of a score."""
    way, budgets = SEARCHES[name], (2.0, 40.0)
    asked = [regrets(pool, "train_loss", way, budgets, [3]) for _ in range(2)]
    assert asked[0] == asked[1]
    assert asked[0][0][1] <= 0.1
    assert all(0.0 <= regret <= 0.6 for regret in asked[0][0])


def test_a_search_begins_with_the_best_expected_run_of_each_method(pool):
    """Starts are of different methods, in the order of the advice; without advice there are none."""
    told = replace(pool, advice=tuple(reversed(range(len(pool.arms)))))
    assert starts(pool, 8) == []
    assert starts(told, 3) == [29, 28, 27]  # methods m1, m0 and m3
    plain = replace(told, arms=(replace(told.arms[0], method="lora"), *told.arms[1:]))
    assert starts(plain, 3) == [0, 29, 28], "what everybody would take comes first, whatever is expected of it"
    hot = replace(plain.arms[0], name="hot", learning_rate=HOTTER * plain.arms[0].learning_rate)
    assert starts(replace(plain, arms=(*plain.arms, hot)), 3) == [0, 30, 29], "and then at the rate of short trials"
    sampler = RandomSampler(told, 0, starts(told, 3))
    assert [sampler.ask() for _ in range(3)] == [29, 28, 27]


def test_guided_draws_alternate_with_those_of_the_sampler(pool):
    """The runs expected to be best come early where draws are guided, and each run still comes once."""
    told = replace(pool, advice=tuple(range(len(pool.arms))))

    def order(guided):
        sampler = TpeSampler(told, 0, grouped_tpe, guided=guided)
        return [sampler.ask() for _ in told.arms]

    assert sorted(order(True)) == sorted(order(False)) == list(range(len(told.arms)))
    assert sum(order(True)[:10:2]) < sum(order(False)[:10:2])


def test_a_race_halves_its_field_and_takes_two_trainings(pool):
    """Four rates of one method run to a quarter, two to the half and one to the end; other pools have no race."""
    rates = tuple(arm.learning_rate for arm in pool.arms[:4])
    assert _others.race(pool, rates, signal="train_loss", seed=0).picks == []
    alike = replace(pool, arms=tuple(replace(arm, method="one") for arm in pool.arms))
    trace = _others.race(alike, rates, signal="train_loss", seed=0)
    assert trace.moments[-1] == pytest.approx(2 * SECONDS)
    assert trace.picks[-1] == max(alike.arms[:4], key=lambda arm: arm.value)


def test_advice_has_seen_nothing_of_a_pool(monkeypatch):
    """The surrogate that orders a pool's runs is fitted to runs of other sources and other data alone."""
    from autopeft.recommend.evidence import shipped_runs

    fitted = []

    def expected(rows):
        fitted.extend(rows)
        return lambda others: [row.points for row in others]

    monkeypatch.setattr(_advice, "kept", expected)
    runs = shipped_runs()
    (published,) = pools([resources.profiles() / "evidence" / "peft_metamathqa.jsonl"], [])
    told = _advice.advised(published, runs)
    own = [run for run in runs if run.setting == published.name]
    assert not {row.origin for row in fitted} & {"https://github.com/huggingface/peft"}
    assert not {row.trained_on for row in fitted} & {run.task.name.split(", ")[0] for run in own}
    values = [told.arms[place].value for place in told.advice]
    assert values[:50] == sorted(values, reverse=True)[:50]  # gains of the worst are cut alike


def test_tpe_proposes_each_run_once(pool):
    """However often TPE draws the same place, the nearest run that is left is proposed."""
    sampler = TpeSampler(pool, 0, grouped_tpe)
    seen = []
    for _ in pool.arms:
        seen.append(sampler.ask())
        sampler.tell(seen[-1], {0: 0.5}, finished=True)
    assert sorted(seen) == list(range(len(pool.arms)))


def test_methods_are_raced_above_their_studies(pool):
    """Each proposes once, then the better half of them, and in the end two; each run comes once."""
    sampler, order = AllocatedSampler(pool, 0, (5,)), []
    methods = sorted({arm.method for arm in pool.arms})
    assert sampler.ask() == 5
    for _ in range(16):
        order.append(pool.arms[place := sampler.ask()].method)
        sampler.tell(place, {0: float(methods.index(order[-1]))}, finished=False)
    assert sorted(order[: len(methods)]) == methods
    assert set(order[-4:]) == set(methods[:LEAST_RACING])


def test_signals_are_judged_by_the_final_quality(pool):
    """A signal that tells all has a rank correlation of one and puts the best run first."""
    found = list(signal_quality(pool, (0.1, 1.0)))
    assert [quality.share for quality in found] == [0.1, 1.0]
    assert all(quality.correlation == pytest.approx(1.0) for quality in found)
    assert all((quality.winner_place, quality.regret_of_first) == (1, 0.0) for quality in found)


def test_the_published_curves_are_a_pool():
    """The project's own evidence gives the 63 published curves, with training loss and validation accuracy."""
    found = pools([resources.profiles() / "evidence" / "peft_metamathqa.jsonl"], [])
    assert [len(each.arms) for each in found] == [63]
    assert found[0].signals == ("train_loss", "value")


def test_runs_that_are_compared_by_their_loss_are_no_pool():
    """Regrets are in points; one setting of the designed sample has been measured sixteen times, by its loss."""
    paths = [resources.profiles() / "evidence" / f"own_{name}.jsonl" for name in ("cpu", "minilm")]
    runs = [run for path in paths for run in read_runs(path)]
    assert max(Counter(run.setting for run in runs if run.quality and run.quality.curve).values()) >= LEAST_ARMS
    assert not pools(paths, [])


def test_pools_are_put_together_by_what_is_held_out():
    """A quarter of the budget and an equal one, over all pools alike; readings of the training loss are not in it."""

    def line(pool, search, budget, regret, signal="value"):
        return Line(
            pool=pool,
            signal=signal,
            search=search,
            budget=budget,
            regret=Mean(value=regret, low=0.0, high=1.0, count=1),
        )

    document = [
        line(pool, search, budget, 0.02 if (pool, search, budget) == ("a", SHORT, 1.0) else 0.01)
        for pool in "ab"
        for search in (*ADVISED, OPTUNA)
        for budget in BUDGETS
    ]
    trained = line("c", SHORT, 1.0, 0.9, signal="train_loss")
    document.append(trained)
    text = together(document)
    assert "mean over 2 pools" in text
    assert text.count(f"| {SHORT} | +0.50 (below zero in 0) | +0.00 (below zero in 0) |") == 2
    assert not together([trained])


def test_tables_show_each_search_at_each_budget(pool):
    """A row per search and a cell per budget."""
    rows = [[0.1, 0.1, 0.0, 0.0, 0.0], [0.3, 0.1, 0.0, 0.0, 0.0]]
    text = table(lines(pool, "train_loss", {"one": rows}))
    assert text.splitlines()[-1].startswith("| one | 20.00 (10.00–30.00) | 10.00 ")


def test_a_quarter_is_compared_seed_by_seed():
    """The difference to four times the seconds is taken within each seed."""
    own, other = [[0.2, 0.2, 0.2, 0.0, 0.0]] * 3, [[0.0, 0.0, 0.5, 0.1, 0.1]] * 3
    found = quarters({LONG: own, OPTUNA: other}, LONG)
    assert [m.value for m in found.values()] == pytest.approx([-0.3, 0.1, 0.1])


def test_intervals_hold_the_mean():
    """The bootstrap interval of a mean holds it and shrinks to a point where nothing varies."""
    found = mean([1.0, 2.0, 3.0, 10.0])
    assert found.low < found.value == 4.0 < found.high
    same = mean([2.0] * 5)
    assert (same.low, same.value, same.high, same.count) == (2.0, 2.0, 2.0, 5)
