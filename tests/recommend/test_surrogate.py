"""Predictions come with intervals, say what they rest on, and admit what they do not know."""

from dataclasses import replace

import pytest

from autopeft import resources
from autopeft.errors import FileFormatError, InvalidValueError
from autopeft.files import plain, to_json
from autopeft.methods import all_methods, get_method
from autopeft.recommend import surrogate
from autopeft.recommend._surrogate_features import (
    NAMES,
    TERMS,
    Described,
    describe_candidate,
    describe_run,
    rate_position,
    vector,
)
from autopeft.recommend.evidence import shipped_runs
from autopeft.values.candidates import Candidate
from tests.recommend.settings import setting


def described(name="lora", **changes):
    base = Described(
        method=get_method(name), targets="qv", quantization="none", rate_position=0.5, batch_size=4,
        trainable=9_175_040, parameters=3_212_749_824, layers=28, task="reasoning", labels=0, rows=20_000,
        tokens=4_198_051,
    )  # fmt: skip
    return replace(base, **changes)


def test_the_reference_gains_nothing_and_what_the_evidence_starves_loses():
    """Plain LoRA lies near 0, and the order of two methods is that of their measured runs."""
    lora, best, worst = surrogate.predict([described("lora"), described("rslora"), described("prompt_tuning")])
    assert abs(lora.points) < 2
    assert best.points > lora.points > worst.points


def test_an_interval_widens_with_its_level():
    """50 % lies within 80 %, and that within 95 %; another level is refused."""
    widths = []
    for level in surrogate.LEVELS:
        (one,) = surrogate.predict([described()], level=level)
        assert one.low < one.points < one.high
        widths.append(one.high - one.low)
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]
    with pytest.raises(InvalidValueError, match="`level` of a prediction must be one of"):
        surrogate.predict([described()], level=0.9)


@pytest.mark.parametrize("position", [0.0, 1.0])
def test_an_interval_widens_with_a_rate_at_the_end_of_its_range(position):
    """At the ends of its range a method starves or collapses in one setting and not in another, and that is said."""
    usual, extreme = surrogate.predict([described(), described(rate_position=position)])
    assert extreme.high - extreme.low > 1.3 * (usual.high - usual.low)


def test_what_is_near_the_evidence_is_told_with_its_runs():
    """A measured run finds itself, with its source, and nothing is in doubt."""
    run = next(run for run in shipped_runs() if run.name.startswith("oft/llama-3.2-3B-rank32@2026-07"))
    (one,) = surrogate.predict([describe_run(run, get_method("oft"))])
    assert one.extrapolates == ()
    assert any(neighbour.name.startswith("oft/") for neighbour in one.nearest)
    assert all(neighbour.source for neighbour in one.nearest)
    assert {"oft"} & {neighbour.method for neighbour in one.nearest}


def test_far_from_all_evidence_is_wide_and_said():
    """A setting unlike any measured one gets a wider interval and a sentence, not a confident number."""
    near, far = surrogate.predict(
        [described(), described(parameters=10**14, trainable=10**4, rows=10, tokens=10**12, labels=5000, layers=900)]
    )
    assert far.high - far.low > 2 * (near.high - near.low)
    assert any("extrapolates" in sentence for sentence in far.extrapolates)


def test_an_interval_grows_with_the_distance_to_the_evidence():
    """Where runs usually lie half as far from each other, a run off the evidence has an interval twice as wide."""
    fitted = surrogate.load()
    far = described(quantization="nf4", targets="mlp", batch_size=32)
    _, _, distances = surrogate.estimate([far], ["points"], fitted)
    tight, tighter = (replace(fitted, usual=float(distances.min()) / times) for times in (2, 4))
    (one,), (other,) = (surrogate.predict([far], surrogate=made) for made in (tight, tighter))
    assert other.high - other.low == pytest.approx(2 * (one.high - one.low))


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"parameters": 20_000}, "model size"), ({"labels": 5000}, "labels"), ({"tokens": 10**12}, "training tokens")],
)
def test_a_setting_outside_all_measured_ranges_says_in_what(changes, words):
    """A larger or smaller quantity than ever measured is named, and widens the interval."""
    near, far = surrogate.predict([described(), described(**changes)])
    assert not any(words in sentence for sentence in near.extrapolates)
    assert any(words in sentence for sentence in far.extrapolates)
    assert far.high - far.low > 1.2 * (near.high - near.low)


def test_a_method_without_runs_is_judged_by_its_descriptors_and_said():
    """Every method of the catalogue gets a prediction; those not in the evidence say so."""
    fitted = surrogate.load()
    names = list(all_methods())
    for name, one in zip(names, surrogate.predict([described(name) for name in names]), strict=True):
        said = any("No measured run is of this method" in sentence for sentence in one.extrapolates)
        assert said is (name not in fitted.methods)
    unseen = next(name for name in names if name not in fitted.methods)
    lower, upper = surrogate.predict([described(unseen, rate_position=x) for x in (-0.5, 0.9)])
    assert lower.points != upper.points


def test_an_unseen_method_is_less_sure():
    """The same run by a method that nobody has measured has a wider interval."""
    fitted = surrogate.load()
    without = replace(fitted, methods=tuple("" if name == "rslora" else name for name in fitted.methods))
    (seen,) = surrogate.predict([described("rslora")], surrogate=fitted)
    (unseen,) = surrogate.predict([described("rslora")], surrogate=without)
    assert unseen.high - unseen.low > seen.high - seen.low


def test_a_loss_is_less_sure_than_a_share():
    """Short runs compared by their loss differ more, so the same candidate has a wider interval there."""
    shares, losses = (surrogate.predict([described()], unit=unit)[0] for unit in ("points", "per cent of the loss"))
    assert losses.high - losses.low > shares.high - shares.low


def test_an_interval_knows_that_the_reference_may_have_been_lucky():
    """A gain is over what the default recipe came to in one setting, whose luck is a part of what is not known."""
    fitted = surrogate.load()
    assert fitted.reference_variance > 0
    _, with_luck, _ = surrogate.estimate([described()], ["points"], fitted)
    _, without, _ = surrogate.estimate([described()], ["points"], replace(fitted, reference_variance=0.0))
    assert with_luck[0] ** 2 - without[0] ** 2 == pytest.approx(fitted.reference_variance)


@pytest.mark.parametrize(
    ("targets", "attention", "feed_forward"),
    [
        ("qv", 1, 0), ("attention", 1, 0), ("mlp", 0, 1), ("all-linear", 1, 1), ("none", 0, 0), ("", 0, 0),
        ("v_proj", 1, 0), ("query,key,value", 1, 0), ("gate_proj, up_proj,down_proj", 0, 1),
        ("down_proj,k_proj,v_proj", 1, 1), ("model.layers.0.mlp.c_proj", 0, 1),
    ],
)  # fmt: skip
def test_named_modules_lie_where_their_role_does(targets, attention, feed_forward):
    """Groups and names of modules alike say whether attention or the feed-forward block is reached."""
    row = dict(zip(NAMES, vector(described(targets=targets)), strict=True))
    assert (row["on attention"], row["on feed-forward"]) == (attention, feed_forward)


def test_a_starved_rate_is_expected_to_lose():
    """At the bottom of a method's range of rates it is expected to come out well below its middle."""
    for name in ("lora", "ia3", "prompt_tuning"):
        low, middle = surrogate.predict([described(name, rate_position=x) for x in (0.0, 0.5)])
        assert low.points < middle.points - 2


def test_a_prediction_is_the_sum_of_its_effects():
    """Doubling one term's effect moves the prediction by that term's share of it, and the other terms' by nothing."""
    fitted, run = surrogate.load(), described("oft")
    place = fitted.terms.index("orthogonal")
    effects = [*fitted.effects]
    effects[place] += 7.0
    (before,) = surrogate.predict([run], surrogate=fitted)
    (after,) = surrogate.predict([run], surrogate=replace(fitted, effects=tuple(effects)))
    (other,) = surrogate.predict([described("lora")], surrogate=replace(fitted, effects=tuple(effects)))
    assert after.points - before.points == pytest.approx(7.0)
    assert other.points == pytest.approx(surrogate.predict([described("lora")])[0].points)


def test_an_unknown_is_flagged_and_not_invented():
    """What is not known is 0 beside its flag."""
    row = dict(zip(NAMES, vector(described(trainable=None, rate_position=None, tokens=None)), strict=True))
    assert (row["log share"], row["share unknown"]) == (0, 1)
    assert (row["rate"], row["rate unknown"], row["budget unknown"]) == (0, 1, 1)


def test_a_candidate_is_described_as_its_run_would_be():
    """The same run before and after it is run has the same descriptors where both know them."""
    where = setting()
    candidate = Candidate(method="lora", parameters={"rank": 8, "alpha": 16, "dropout": 0.0}, learning_rate=1e-3,
                          batch_size=8, accumulation=2)  # fmt: skip
    found = describe_candidate(candidate, get_method("lora"), where.model, where.task, trainable=1000, tokens=5000)
    assert found.batch_size == 16
    assert found.rate_position == rate_position(get_method("lora"), 1e-3)
    assert found.parameters == where.model.parameters
    assert found.rows == where.task.training_rows


def test_a_surrogate_of_other_descriptors_is_refused(tmp_path, monkeypatch):
    """A file that was fitted before a descriptor changed does not give silent nonsense."""
    fitted = surrogate.load()
    (tmp_path / "surrogate.json").write_text(to_json({**plain(fitted), "terms": list(TERMS[1:])}))
    monkeypatch.setattr(resources, "profiles", lambda: tmp_path)
    surrogate.load.cache_clear()
    try:
        with pytest.raises(FileFormatError, match="fitted on other descriptors"):
            surrogate.load()
    finally:
        surrogate.load.cache_clear()
