"""The runner turns what a trial is expected to meet into an outcome, and nothing else."""

import math
from dataclasses import replace

import pytest
import torch

from autopeft.training import worker as worker_module
from autopeft.training.base import load_base
from autopeft.training.forgetting import general_texts
from autopeft.training.run import TrainingRun
from autopeft.training.scoring import predict
from autopeft.training.worker import Worker
from autopeft.tuning.budget import TrialSize
from autopeft.tuning.gauge import Gauge
from autopeft.tuning.prepare import Request, prepare
from autopeft.tuning.runner import TorchRunner
from autopeft.tuning.trials import told_apart
from autopeft.values.candidates import Candidate, Constraints
from autopeft.values.plans import Plan
from tests.toys import classification_csv

IA3 = Candidate(method="ia3", learning_rate=5e-3, batch_size=8)
SIZE = TrialSize(tokens=800, pruning_rows=16, scoring_rows=24)
PLAN = Plan(tokens=800, readings=(0.25, 0.5, 1.0))


@pytest.fixture(scope="module")
def ready(tiny_models, tmp_path_factory):
    source = classification_csv(tmp_path_factory.mktemp("data") / "toy.csv")
    constraints = Constraints(methods=("ia3",))
    return prepare(Request(model=str(tiny_models["bert"]), data=str(source), folds=1, constraints=constraints))


@pytest.fixture(scope="module")
def worker(ready):
    return Worker(ready.model, ready.hardware, head_seed=0)


@pytest.fixture(scope="module")
def runner(ready, worker, tmp_path_factory):
    return TorchRunner(worker, ready.parts, ready.objective, SIZE, tmp_path_factory.mktemp("states"))


def test_what_was_asked_for_is_measured_of_a_completed_trial(ready, worker, tmp_path):
    """Forgetting, latency and size belong to a completed trial, the estimate to every one; the score stays the same."""
    asked = replace(ready, objectives=("quality", "forgetting", "latency"), texts=general_texts()[:8])
    gauge = Gauge(worker, asked)
    measuring = TorchRunner(worker, ready.parts, ready.objective, SIZE, tmp_path, gauge)
    found = run(measuring)
    assert found.forgetting is not None
    assert (found.forgetting.measure, found.forgetting.rows) == ("masked_lm_loss", 8)
    assert found.latency is not None
    assert found.latency.merged_milliseconds is not None
    assert (found.adapter_bytes or 0) > 4 * (found.trainable_parameters or 0)
    assert (found.estimated_bytes, found.estimated_by) == ready.memory_of(IA3)
    held = gauge._probe
    worker.release()
    run(measuring, lambda _: True)
    assert gauge._probe is not held, "a base that was loaded again is measured again"
    bare = run(TorchRunner(worker, ready.parts, ready.objective, SIZE, tmp_path, Gauge(worker, ready)))
    assert (bare.forgetting, bare.latency, bare.adapter_bytes) == (None, None, None)
    assert bare.score == found.score
    stopped = run(measuring, lambda _: True)
    assert (stopped.status, stopped.forgetting, stopped.latency) == ("pruned", None, None)
    assert stopped.estimated_bytes == found.estimated_bytes


def test_a_score_comes_with_its_standard_error(runner):
    """The error is that of a share over so many rows, as the binomial has it."""
    outcome = run(runner)
    share = outcome.metrics["accuracy"]
    assert outcome.score_error == pytest.approx((share * (1 - share) / SIZE.scoring_rows) ** 0.5, rel=0.35)


def run(runner, stops=lambda _reading: False, earlier=None, number=7):
    return runner.run(number, IA3, PLAN, stops, math.inf, earlier)


def test_a_completed_trial_has_a_score_and_a_reading_per_share(runner):
    """Every share of the plan is read, tokens ascend, and the score is the deciding metric on validation."""
    outcome = run(runner)
    assert outcome.status == "completed"
    assert outcome.number == 7
    assert outcome.score == outcome.metrics["accuracy"]
    tokens = [reading.tokens for reading in outcome.curve]
    assert tokens == sorted(tokens)
    assert len(tokens) == 3
    assert outcome.tokens == tokens[-1] >= 800
    assert outcome.trainable_parameters
    assert 0 <= outcome.overhead_seconds <= outcome.seconds


def test_a_watched_trial_is_pruned_where_the_search_says(runner):
    """A trial stops at the reading at which it is told to, and has no score."""
    outcome = run(runner, lambda reading: reading.tokens > 300)
    assert outcome.status == "pruned"
    assert outcome.score is None
    assert len(outcome.curve) == 2


def test_a_stopped_trial_goes_on_where_it_stood(runner, monkeypatch):
    """Promoted twice from its stored state, a trial has the curve and score of one that never stopped."""
    steps = []
    step = TrainingRun._step

    def counted(*arguments):
        steps.append(1)
        return step(*arguments)

    monkeypatch.setattr(TrainingRun, "_step", counted)
    unbroken = run(runner)
    whole = len(steps)
    first = run(runner, lambda _: True, number=11)
    second = run(runner, lambda _: True, first, number=12)
    runner.keep({12})
    third = run(runner, lambda _: True, second, number=13)
    assert [len(o.curve) for o in (first, second, third)] == [1, 2, 3]
    assert [o.continues for o in (first, second, third)] == [None, 11, 12]
    assert [r.validation_loss for r in third.curve] == [r.validation_loss for r in unbroken.curve]
    assert third.score == unbroken.score
    assert third.seconds > second.seconds > first.seconds
    assert len(steps) == 2 * whole, "nothing is trained twice"
    runner.keep(())
    anew = run(runner, lambda _: True, second, number=14)
    assert anew.score == unbroken.score, "a trial whose state is gone is trained anew"
    assert len(steps) == 3 * whole


@pytest.mark.parametrize(("loss", "status"), [(math.nan, "diverged"), (math.inf, "diverged"), (None, "out_of_memory")])
def test_nan_and_out_of_memory_are_outcomes(runner, monkeypatch, loss, status):
    """A NaN loss and a full device end the trial, with the reason; the next trial runs as ever."""

    def backward(_self, _batch, _parts):
        if loss is None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return loss

    monkeypatch.setattr(TrainingRun, "_backward", backward)
    outcome = run(runner)
    assert (outcome.status, outcome.score) == (status, None)
    assert outcome.reason
    monkeypatch.undo()
    assert run(runner).status == "completed"


def test_predictions_without_a_loss_are_a_divergence(runner, monkeypatch):
    """A trial whose predictions are no numbers on rows that no reading saw has no metrics that a file could hold."""

    def lost(*arguments, **options):
        said = predict(*arguments, **options)
        return replace(said, losses=[math.inf, *said.losses[1:]])

    monkeypatch.setattr("autopeft.tuning.runner.predict", lost)
    outcome = run(runner)
    assert (outcome.status, outcome.score, outcome.metrics) == ("diverged", None, {})
    assert len(outcome.curve) == len(run(runner).curve)


def test_a_defect_is_no_outcome(runner, monkeypatch):
    """A programming error in a trial keeps its traceback."""

    def broken(_self, _batch, _parts):
        raise AttributeError("a typo")

    monkeypatch.setattr(TrainingRun, "_backward", broken)
    with pytest.raises(AttributeError, match="a typo"):
        run(runner)


@pytest.mark.parametrize(("folds", "trainings"), [(1, 1), (2, 2), (None, 3)])
def test_a_trial_takes_the_folds_it_has_time_for(ready, worker, tmp_path, folds, trainings):
    """A size that names fewer folds than there are trains on the first ones alone."""
    sized = replace(SIZE, folds=folds)
    outcome = run(TorchRunner(worker, ready.parts * 3, ready.objective, sized, tmp_path))
    assert round(outcome.tokens / outcome.curve[-1].tokens) == trainings  # other batches in each


def test_folds_that_are_scored_stand_for_a_trial_whose_time_is_up(tiny_models, worker, tmp_path, monkeypatch):
    """What ran out of time in a further fold keeps the mean of those before it: nothing that was trained is lost."""
    source = classification_csv(tmp_path / "toy.csv")
    constraints = Constraints(methods=("ia3",))
    ready = prepare(
        Request(model=str(tiny_models["bert"]), data=str(source), folds=3, repeats=1, constraints=constraints)
    )
    begun = []
    attached = Worker.attached

    def hurried(self, candidate, plan, dataset, deadline=math.inf, *rest):
        begun.append(plan.seed)
        return attached(self, candidate, plan, dataset, 0.0 if len(begun) == 3 else deadline, *rest)

    monkeypatch.setattr(Worker, "attached", hurried)
    outcome = run(TorchRunner(worker, ready.parts, ready.objective, SIZE, tmp_path))
    assert len(begun) == 3
    assert outcome.status == "completed"
    two = run(TorchRunner(worker, ready.parts[:2], ready.objective, SIZE, tmp_path))
    assert (outcome.score, outcome.score_error) == (two.score, two.score_error)


@pytest.mark.parametrize("status", ["diverged", "timed_out"])
def test_a_continuation_has_the_figures_of_its_first_part(runner, monkeypatch, status):
    """What stands for the trial it went on from has its tokens, seconds and peak; what ran out of time has its own."""
    first = replace(run(runner, lambda _: True, number=21), peak_bytes=2**50, seconds=1000.0, overhead_seconds=500.0)
    if status == "diverged":
        monkeypatch.setattr(TrainingRun, "_backward", lambda *_: math.nan)
    ended = runner.run(22, IA3, PLAN, lambda _: True, 0.0 if status == "timed_out" else math.inf, first)
    assert ended.status == status
    if status == "diverged":
        assert (ended.tokens, ended.peak_bytes) == (first.tokens, 2**50)
        assert ended.seconds > 1000.0
        assert ended.overhead_seconds >= 500.0
    else:
        assert ended.tokens == 0
        assert ended.seconds < 1000.0
        slow = told_apart(ended, PLAN, math.inf, first)
        assert slow.too_slow
        assert (slow.tokens, slow.peak_bytes) == (first.tokens, 2**50), "its own time was too short: it stands for both"


def test_a_base_is_let_go_of_before_the_next_one_is_loaded(ready, worker, monkeypatch):
    """What measures a base holds none while the worker loads another: two of them need not fit."""
    gauge = Gauge(worker, replace(ready, objectives=("quality", "latency")))
    gauge.ready(IA3)
    worker.release()
    held = []

    def watched(*arguments, **options):
        held.append(gauge._base)
        return load_base(*arguments, **options)

    monkeypatch.setattr(worker_module, "load_base", watched)
    gauge.ready(IA3)
    assert held == [None]
    assert gauge._base is worker.base(IA3)


def test_tokens_of_a_part_that_was_broken_off_are_counted(runner, monkeypatch):
    """What diverges between two readings has spent tokens, which a limit on them must see."""
    backward, steps = TrainingRun._backward, []

    def late(self, batch, parts):
        steps.append(1)
        return math.nan if len(steps) > 2 else backward(self, batch, parts)

    monkeypatch.setattr(TrainingRun, "_backward", late)
    outcome = runner.run(31, IA3, replace(PLAN, readings=(1.0,)), lambda _: False, math.inf, None)
    assert (outcome.status, outcome.curve) == ("diverged", ())
    assert outcome.tokens > 0
