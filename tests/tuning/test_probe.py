"""A probe corrects predictions by what a few real steps showed, each by the other's variance, and no further."""

import math
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autopeft.errors import DivergedError
from autopeft.recommend.observed import LOSS_ERROR, POINTS_PER_LOSS, combined
from autopeft.recommend.recommender import ranked
from autopeft.recommend.suggest import collect_profiles, recommend_for
from autopeft.tuning.probe import LOST, _pilot, _too_few, probe, readings
from autopeft.values.candidates import Candidate, Constraints
from autopeft.values.predictions import Prediction, ProbeRun


def prediction(points, half=10.0, unit="per cent of the loss"):
    return Prediction(points=points, low=points - half, high=points + half, level=0.8, unit=unit)


def ran(loss, status="completed"):
    return ProbeRun(status=status, steps=20, tokens=1000, loss=loss, gradient_norm=1.0, seconds=1.0)


def test_readings_move_predictions_towards_what_was_seen():
    """Of two with the same prediction the one that lost more loss gains, by as much as the other falls."""
    better, worse = combined([prediction(2.0), prediction(2.0)], readings([ran(0.5), ran(0.6)]), 10)
    assert better.points > 2.0 > worse.points
    assert better.points + worse.points == pytest.approx(4.0)
    assert better.points - worse.points < 100 * math.log(0.6 / 0.5)


def test_a_sure_prediction_moves_less_and_both_get_surer():
    """The share of a surprise that counts is the prediction's own part of all variance."""
    sure, unsure = combined([prediction(0.0, half=1.0), prediction(0.0, half=40.0)], [10.0, -10.0], 10)
    assert abs(sure.points) < 0.1 * abs(unsure.points)
    assert unsure.high - unsure.low < 0.9 * 80
    assert sure.low < sure.points < sure.high


def test_the_common_level_of_the_readings_says_nothing():
    """All losses lower by the same factor change nothing: only differences are comparable."""
    given = [prediction(3.0), prediction(-1.0), prediction(0.0, half=5.0)]
    near, far = (combined(given, readings([ran(scale * x) for x in (0.5, 0.6, 0.4)]), 5) for scale in (1.0, 0.1))
    assert [one.points for one in near] == pytest.approx([one.points for one in far])


def test_the_longer_what_is_left_the_less_a_reading_counts():
    """A reading before a training ten times as long moves a prediction less."""
    short, long = (combined([prediction(0.0), prediction(0.0)], [20.0, -20.0], ratio)[0].points for ratio in (2, 200))
    assert short > 1.3 * long > 0


def test_points_of_accuracy_are_less_than_per_cent_of_the_loss():
    """Where quality is a share, a per cent of the loss is taken for 0.28 points."""
    wide = [prediction(0.0, half=1e6, unit="points") for _ in range(2)]
    first, second = combined(wide, [10.0, 0.0], 1)
    assert first.points - second.points == pytest.approx(10 * POINTS_PER_LOSS, rel=1e-3)
    assert LOSS_ERROR > 0


def test_divergence_counts_against_and_other_ends_say_nothing():
    """What diverged stands below the worst that did not; what ran out of time keeps its prediction."""
    gains = readings([ran(0.5), ran(0.7), ran(None, "diverged"), ran(None, "timed_out")])
    assert gains[2] == pytest.approx(-100 * math.log(0.7) - LOST)
    assert gains[3] is None
    given = [prediction(1.0) for _ in gains]
    after = combined(given, gains, 10)
    assert after[2].points < after[1].points < after[0].points
    assert after[3] == given[3]


@pytest.fixture
def reviews(tmp_path):
    path = tmp_path / "reviews.csv"
    words = ("lovely", "dreadful")
    rows = [
        f"{words[i % 2]} film {i} with {words[i % 2]} parts and words of its own {i * 7},{i % 2}" for i in range(300)
    ]
    path.write_text("\n".join(["text,label", *rows]))
    return str(path)


@pytest.fixture
def profiles(tiny_models, reviews):
    return collect_profiles(
        str(tiny_models["bert"]), reviews, task=None, rows=None, tokens_per_row=None, columns=None, gpu=None,
        memory_bytes=None,
    )  # fmt: skip


def test_real_steps_of_the_first_few_reorder_them(profiles, reviews, monkeypatch):
    """The first methods train for the same steps; their predictions change, and each probed one says what it saw."""
    monkeypatch.setattr("autopeft.tuning.probe.BEGUN", 1.5)  # a random tiny model learns too little in so few steps
    before = recommend_for(profiles, Constraints(methods=("lora", "ia3", "bitfit")))
    said: list[str] = []
    after = probe(profiles, reviews, before, 60, said.append)
    probed = [s for s in after.candidates if s.probe is not None]
    assert sorted(s.candidate.method for s in probed) == ["bitfit", "ia3", "lora"]
    assert len({s.probe.steps for s in probed if s.probe}) == 1
    assert len(said) == 3
    assert any("probed" in note for note in after.notes)
    old = {repr(s.candidate): s.prediction for s in before.candidates}
    for suggestion in probed:
        assert suggestion.prediction != old[repr(suggestion.candidate)]
        assert suggestion.score == pytest.approx(sum(reason.weight for reason in suggestion.reasons))
        assert suggestion.probe is not None
        assert suggestion.probe.loss is not None
        assert 0 < suggestion.probe.loss < 2
        assert (suggestion.probe.gradient_norm or 0) > 0
    assert after.candidates == ranked(after.candidates)


@pytest.mark.slow
def test_while_nothing_has_begun_to_learn_nothing_is_concluded(profiles, reviews, monkeypatch):
    """Losses that are all where they began leave predictions and order as they were, and a note says so."""
    monkeypatch.setattr("autopeft.tuning.probe.BEGUN", 0.0)
    before = recommend_for(profiles, Constraints(methods=("lora", "ia3")))
    after = probe(profiles, reviews, before, 60, lambda _: None)
    assert [(s.candidate, s.prediction) for s in after.candidates] == [
        (s.candidate, s.prediction) for s in before.candidates
    ]
    assert sum(s.probe is not None for s in after.candidates) == 2
    assert "nothing began to learn" in after.notes[-1]


@pytest.mark.slow
def test_too_little_time_probes_nothing_and_says_so(profiles, reviews):
    """Where the time is too short the recommendation stays as it was, with a note."""
    before = recommend_for(profiles, Constraints(methods=("lora", "ia3")))
    after = probe(profiles, reviews, before, 0.01, lambda _: None)
    assert after.candidates == before.candidates
    assert "too few to probe" in after.notes[-1]


def test_the_pilot_is_the_first_that_can_take_a_few_steps(monkeypatch):
    """Where the first suggestion runs out of memory or diverges, the next one says how long a step takes."""
    monkeypatch.setattr("autopeft.tuning.probe._loss", lambda _bench, run: run.loss)

    @contextmanager
    def attached(candidate, *_):
        if candidate.batch_size == 16:
            raise torch.OutOfMemoryError("CUDA out of memory")

        def advance(_share):
            if candidate.batch_size == 8:
                raise DivergedError("The training loss became nan.")

        yield SimpleNamespace(loss=0.7, advance=advance, seconds=6.0, done=3)

    def leaders(*sizes) -> Any:
        made = [Candidate(method="ia3", learning_rate=1e-3, batch_size=size) for size in sizes]
        return [SimpleNamespace(candidate=candidate) for candidate in made]

    bench: Any = SimpleNamespace(
        worker=SimpleNamespace(attached=attached), tokens=lambda *_: 10, data={"train": None}, deadline=math.inf
    )
    assert _pilot(bench, leaders(16, 8, 4)) == (0.7, 2.0)
    start, step = _pilot(bench, leaders(16, 8))
    assert math.isnan(start)
    assert math.isinf(step)


def test_runs_that_did_not_end_are_not_blamed_on_the_time(profiles, reviews, monkeypatch):
    """Where all that was probed diverged, the note says so, each says it of itself, and predictions stay."""
    monkeypatch.setattr("autopeft.tuning.probe._run", lambda *_: ProbeRun(status="diverged", seconds=1.0))
    before = recommend_for(profiles, Constraints(methods=("lora", "ia3")))
    after = probe(profiles, reviews, before, 60, lambda _: None)
    assert "2 probed, fewer than two of them to the end (diverged)" in after.notes[-1]
    assert sorted(s.probe.status for s in after.candidates if s.probe) == ["diverged", "diverged"]
    assert [s.prediction for s in after.candidates] == [s.prediction for s in before.candidates]


def test_why_nothing_is_compared_is_told_apart():
    """Too little time, nothing that can begin, and runs that end otherwise are three sentences."""
    assert "30 s are too few" in _too_few(30, 0.7, [])
    assert "30 s are too few" in _too_few(30, 0.7, [ran(0.5)])
    assert "can take a few steps" in _too_few(30, math.nan, [])
    assert "(diverged, out of memory)" in _too_few(30, 0.7, [ran(None, "out_of_memory"), ran(None, "diverged")])
