"""The table says what it claims to: regret, ties, intervals over clusters, and no answer seen beforehand."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from autopeft import resources
from autopeft.recommend.evidence import shipped_runs
from autopeft.recommend.expect import WORTH
from autopeft.recommend.surrogate import design, load
from autopeft.values.evidence import RunModel, RunQuality, RunTask
from benchmarks import _evaluate, _gains, _kin, _kinds, _mixed, _page, _policies, _rates, _rules, import_tables
from tests.recommend.test_evidence import a_run, scored

logpdf = multivariate_normal.logpdf


def runs():
    other = {"method": "dora", "reference": False}
    return [
        scored(0.70, name="1"), scored(0.75, name="2", **other), scored(0.60, name="3", learning_rate=1e-4, **other),
        scored(0.80, name="4", method="ia3", parameters={}, reference=False),
    ]  # fmt: skip


def test_gains_are_differences_to_plain_lora_in_their_own_unit():
    """Points of a hundred for shares; per cent of the loss for losses, lower being better."""
    assert [row.points for row in _gains.rows(runs())] == pytest.approx([0, 5, -10, 10])
    loss = {"metric": "validation_loss", "higher_is_better": False, "share": False}
    lost = [run.__class__(**{**run.__dict__, "quality": run.quality.__class__(value=value, **loss)})
            for run, value in zip(runs()[:2], (1.0, 0.9), strict=True)]  # fmt: skip
    found = _gains.rows(lost)
    assert found[1].points == pytest.approx(-100 * np.log(0.9))
    assert found[1].unit == "per cent of the loss"


def test_regret_is_what_the_best_run_had_more():
    """The first suggestion, the best of three, and ties as their mean."""
    rows = _gains.rows(runs())
    places = [0, 1, 2, 3]
    worst_first = _evaluate.followed(rows, places, np.array([1.0, 2.0, 3.0, 0.0]))
    assert worst_first.regret == pytest.approx(20)
    assert worst_first.best_of_three == pytest.approx(5)
    tied = _evaluate.followed(rows, places, np.array([0.0, 1.0, 1.0, 0.0]))
    assert tied.regret == pytest.approx(10 - (5 - 10) / 2)
    assert _evaluate.followed(rows, places, _evaluate.default_scores(rows, places)).regret == pytest.approx(10)
    assert _evaluate.random_choice(rows, places).regret == pytest.approx(10 - 1.25)


def test_what_luck_costs_grows_with_it_and_with_the_runs_it_can_favour():
    """Of two equal runs the better one is ahead of a given one by the noise over the root of pi, in the mean."""
    pair = np.array([3.0, 3.0])
    assert _evaluate.unavoidable(pair, 0.0) == 0.0
    assert _evaluate.unavoidable(pair, 2.0) == pytest.approx(2.0 / np.pi**0.5, rel=0.1)
    assert _evaluate.unavoidable(np.full(10, 3.0), 2.0) > 1.5 * _evaluate.unavoidable(pair, 2.0)
    assert _evaluate.unavoidable(np.array([3.0, 30.0]), 2.0) < 0.01


def test_ties_do_not_depend_on_the_order_of_files():
    """The best of three among tied runs is what a random order of them comes to, wherever they stand in a file."""
    rows = _gains.rows(runs())
    every = [list(order) for order in permutations(range(4))]
    scores = np.array([1.0, 0.0, 0.0, 0.0])
    lost = {_evaluate.followed([rows[place] for place in order], range(4), scores[order]).best_of_three
            for order in every}  # fmt: skip
    by_hand = np.mean([10 - max(0, *pair) for pair in ((5, -10), (5, 10), (-10, 10))])
    assert list(lost) == pytest.approx([by_hand])
    random = _evaluate.random_choice(rows, range(4))
    assert random.best_of_three == pytest.approx(np.mean([10 - 5, 0, 0, 0]))
    assert (random.hit, random.regret) == pytest.approx((1 / 4, 10 - 5 / 4))


def test_a_checkpoint_is_one_model_and_a_machine_one_source():
    """What is left out goes by what it is: other names and other cuts of a checkpoint, other scripts on one machine."""

    def row(model, source="https://github.com/a/b/blob/main/c.md"):
        run = replace(runs()[0], source=source)
        return _gains.rows([replace(run, model=replace(run.model, name=model))])[0]

    for names in (("LLaMA3-8B", "llama-3-8b", "LLAMA-3-8B"), ("phi-2", "Phi-2"), ("bert-base", "bert-base-uncased"),
                  ("Llama 2 7 B", "llama-2-7b", "LLaMA2-7B"), ("meta-llama/Llama-3.2-3B", "llama-3.2-3b")):  # fmt: skip
        assert len({row(name).whole_model for name in names}) == 1, names
    assert row("mistral-7b").whole_model != row("mistral-7b-v0.2").whole_model
    own = [row(f"minilm-{layers}", f"autopeft benchmarks/{script}.py")
           for layers, script in ((2, "collect"), (4, "pool"), (6, "methods"))]  # fmt: skip
    assert {(one.whole_model, one.origin) for one in own} == {("minilm", "autopeft benchmarks")}
    assert len({one.address for one in own}) == 3
    assert row("m").origin == "https://github.com/a/b"
    shipped = {run.model.name.lower() for run in shipped_runs()}
    assert {*_gains.ALIASES, *_gains.ALIASES.values()} <= shipped, "what an alias joins is there"


def test_rates_are_compared_all_else_alike_and_in_one_unit():
    """A configuration at several rates by its loss is a race; another rank, another batch or points of a metric no."""

    def run(name, value, **changes):
        quality = RunQuality(metric="validation_loss", value=value, higher_is_better=False, share=False)
        return a_run(**{"name": name, "quality": quality, "reference": False, **changes})

    tried = [
        run("0", 0.9, reference=True), run("1", 0.8, learning_rate=2e-3), run("2", 0.7, learning_rate=4e-3),
        run("3", 0.5, learning_rate=8e-3, parameters={"rank": 4, "alpha": 8, "dropout": 0.0}),
        run("4", 0.4, learning_rate=8e-3, batch_size=64), run("5", 0.3, learning_rate=8e-3, targets="mlp"),
    ]  # fmt: skip
    shares = [scored(0.7, name="6", setting="z"), scored(0.8, name="7", setting="z", learning_rate=2e-3)]
    (group,) = _rates.raced(_gains.rows([*tried, *shares])).items()
    assert group[0][:2] == ("s", "lora")
    assert group[1] == {1e-3: [0], 2e-3: [1], 4e-3: [2]}


def test_a_cluster_is_a_checkpoint_under_all_its_names():
    """What the bootstrap draws and the folds leave out knows a checkpoint by any name, and another's data apart."""

    def cluster(model, data="d"):
        run = runs()[0]
        named = replace(run, model=replace(run.model, name=model), task=replace(run.task, name=data))
        return _gains.rows([named])[0].cluster

    assert cluster("LLaMA3-8B") == cluster("meta-llama/Llama-3-8B")
    assert cluster("LLaMA3-8B") != cluster("LLaMA3-8B", "e")


def test_an_error_is_of_what_could_be_wrong():
    """The reference gains nothing by definition, so that it is predicted well says nothing."""
    rows = _gains.rows(runs())
    assert _evaluate.missed(rows, np.zeros(4)).tolist() == pytest.approx([np.nan, 5, 10, 10], nan_ok=True)


def test_the_rules_are_asked_about_one_task(monkeypatch):
    """A decoder that chooses writes its answer, and what its task needs is what writing does."""
    asked = []

    def reasons(case):
        asked.append(case.setting)
        return ()

    monkeypatch.setattr(_rules, "reasons_for", reasons)
    monkeypatch.setattr(_rules, "estimate", lambda *_, **__: None)
    model, task = RunModel(name="LLaMA-7B", kind="decoder"), RunTask(name="t", task="multiple-choice", rows=1000)
    (row,) = _gains.rows([a_run(model=model, task=task)])
    assert _rules.score(row) == 0
    assert [(where.task.task, where.needs.task) for where in asked] == [("instruction", "instruction")]


def test_what_is_said_of_suggest_is_what_it_does():
    """The table weighs predictions as the recommender does, and leaves out where rules say too little."""
    rows, places = _gains.rows(runs()), [0, 1, 2, 3]
    scores = _policies.weighed(np.array([0.0, -1.0, 2.0, 0.5]), [1.0, 2.0, -1.0, None])
    assert scores == [1.0, 2.0 - WORTH, -1.0 + 2 * WORTH, None]
    assert _policies.by_rules(rows, places, scores) is None
    bare = _policies.weighed(np.array([0.0, -1.0, 2.0, 0.5]), [1.0, 2.0, -1.0, None], 0.0)
    assert bare == [1.0, 2.0, -1.0, None], "or with any other weight"
    known = _policies.by_rules(rows, [*places, 0], scores)
    assert known is not None
    assert known.regret == 20.0, "what the rules cannot be asked about comes last"


def test_what_is_held_out_is_not_seen():
    """A model is made without the rows that it predicts."""
    rows = _gains.rows(runs())

    def make(part):
        seen = {row.method for row in part}
        return lambda others: np.array([float(row.method in seen) for row in others])

    assert _evaluate.held_out(rows, "method", make).tolist() == [0, 0, 0, 0]


def test_an_interval_draws_whole_groups():
    """A hundred runs of one model are one piece of evidence, not a hundred."""
    values = [0.0] * 100 + [10.0] * 100
    wide = _evaluate.interval(values, [("a",)] * 100 + [("b",)] * 100)
    narrow = _evaluate.interval(values, [(str(place),) for place in range(200)])
    assert wide[0] == narrow[0] == 5
    assert (wide[1], wide[2]) == (0, 10)
    assert narrow[2] - narrow[1] < 4


def test_what_shares_a_model_or_its_data_is_drawn_together():
    """A hundred data sets are no hundred pieces of evidence where two models make the whole difference."""
    values = [0.0] * 100 + [10.0] * 100
    data = [str(place % 100) for place in range(200)]
    models = ["a"] * 100 + ["b"] * 100
    assert _evaluate.interval(values, list(zip(models, data, strict=True)))[1:] == (0, 10)
    assert _evaluate.interval(values, list(zip(data, models, strict=True)))[1:] == (0, 10)
    assert np.isnan(_evaluate.interval([float("nan")], [("a", "b")])[0])


def in_settings(*counts):
    """Rows of so many runs in each setting, all of one cluster."""
    (row,) = _gains.rows([a_run()])
    return [
        replace(row, run=replace(row.run, name=f"{place} {number}", setting=str(place)))
        for place, count in enumerate(counts)
        for number in range(count)
    ]


def test_intervals_are_made_to_hold_in_every_setting_alike():
    """A grid of ninety runs far off says as much of the next setting as another one's single run."""
    found = _mixed._quantiles(np.array([*[9.0] * 90, 1.0, 2.0, 3.0]), in_settings(90, 1, 1, 1))
    assert found["0.5"] == 9.0, "with one cluster, the next one may lie anywhere"
    rows = [
        replace(row, run=replace(row.run, model=replace(row.run.model, name=row.run.setting)))
        for row in in_settings(90, 1, 1, 1)
    ]
    assert _mixed._quantiles(np.array([*[9.0] * 90, 1.0, 2.0, 3.0]), rows)["0.5"] == 3.0


def test_each_unit_has_intervals_of_its_own():
    """Wild losses do not widen the intervals of points; a unit that nothing was measured in takes what there is."""
    calm, wild = in_settings(1, 1, 1), [replace(row, unit="per cent of the loss") for row in in_settings(1, 1, 1)]
    both = _mixed._by_unit(np.array([1.0, 1.0, 1.0, 9.0, 9.0, 9.0]), [*calm, *wild])
    assert (both["points"]["0.8"], both["per cent of the loss"]["0.8"]) == (1.0, 9.0)
    assert _mixed._by_unit(np.ones(3), calm)["per cent of the loss"] == both["points"]


def test_what_counts_alike_is_a_mean_of_its_runs():
    """A setting of three runs counts once, and what is not a number not at all."""
    rows = in_settings(3, 1, 1)
    means, drawn = _page.alike(np.array([0.0, 0.0, 3.0, 5.0, np.nan]), rows, _page.COUNTED["settings"])
    assert (means, drawn) == ([1.0, 5.0], [rows[0].drawn] * 2)
    assert _page.alike(np.array([0.0, 0.0, 3.0, 5.0, np.nan]), rows, _page.COUNTED["runs"])[0] == [0, 0, 3, 5]


def test_published_tables_are_what_their_script_writes(tmp_path):
    """Nobody edits the files by hand."""
    import_tables.main(str(tmp_path))
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (resources.profiles() / "evidence" / path.name).read_bytes()
    assert {path.stem for path in tmp_path.iterdir()} == set(import_tables.FILES)
    assert len(import_tables.FILES) >= 19


def test_the_shipped_surrogate_is_what_the_shipped_runs_give():
    """Who adds evidence fits anew: effects and nearest runs are those of all runs that ship."""
    shipped = load()
    made = _mixed.fit(_gains.rows(shipped_runs()), shipped.fitted)
    assert made.methods == shipped.methods
    assert [run.name for run in made.measured] == [run.name for run in shipped.measured]
    assert made.effects == pytest.approx(shipped.effects, abs=0.01)
    for unit in ("points", "per cent of the loss"):
        assert made.quantiles[unit] == pytest.approx(shipped.quantiles[unit], rel=0.01)
        assert made.unseen_quantiles[unit] == pytest.approx(shipped.unseen_quantiles[unit], rel=0.01)


def test_likelihood_and_effects_agree():
    """Bayes: what the gains are likely by is what they are by the effects, times how likely these were, over now."""
    rows = _gains.rows(runs())
    methods = sorted({row.method for row in rows})
    inputs = np.array([design(row.described, methods) for row in rows])
    effects, covariance = _mixed._posterior(rows, methods)
    prior = np.diag(_mixed.BELIEFS.of_effects(len(methods)) ** 2)
    by_effects = logpdf(_mixed.targets(rows), inputs @ effects, _mixed._scatter(rows, inputs, _mixed.BELIEFS))
    before, after = logpdf(effects, _mixed._believed(inputs), prior), logpdf(effects, effects, covariance)
    assert _mixed.likelihood(rows) == pytest.approx(by_effects + before - after)


def test_every_kind_predicts_every_row():
    """What the surrogate was chosen among still runs."""
    rows = _gains.rows([run for run in shipped_runs() if run.setting.startswith("peft")])
    for make in _kinds.KINDS.values():
        assert np.isfinite(make(rows)(rows[:5])).all()


def test_a_search_begins_with_lora_and_with_each_methods_best(monkeypatch):
    """Then by score, of a method its best run alone; what is kin of LoRA falls behind where kin are set back."""
    monkeypatch.setattr(_kin, "METHODS_TRIED", 2)
    rows, scores = _gains.rows(runs()), np.array([0.0, 3.0, 2.0, 2.5])
    assert _kin.chosen(rows, range(4), scores, 0.0) == [0, 1]
    assert _kin.lost(rows, range(4), scores, 0.0) == pytest.approx(5)
    assert _kin.chosen(rows, range(4), scores, 1.0) == [0, 3]
    assert _kin.lost(rows, range(4), scores, 1.0) == 0
