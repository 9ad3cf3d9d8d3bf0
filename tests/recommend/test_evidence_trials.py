"""A trial becomes a run whose quality is counted as what it is."""

from dataclasses import replace

from autopeft.recommend._evidence_checks import problems
from autopeft.recommend._evidence_trials import SHARES, model_facts, task_facts, trial_run
from autopeft.tasks import all_tasks
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Measurement, TrialOutcome
from tests.recommend.settings import SMALL, task

OUTCOME = TrialOutcome(
    number=0, status="completed", candidate=Candidate(method="lora", learning_rate=1e-3), score=0.5, tokens=3000,
    metrics={"accuracy": 0.5},
    curve=tuple(Measurement(tokens=t, seconds=1.0, train_loss=1.0, validation_loss=1.0) for t in (500, 1000)),
)  # fmt: skip


def run_of(outcome, metric="accuracy", *, lower_is_better=False):
    return trial_run(
        outcome, name="a", setting="s", model=model_facts(SMALL, "m"), task=task_facts(task(), "t"), metric=metric,
        lower_is_better=lower_is_better, scored_rows=10, seed=0, device="cpu", on_gpu=False, source="test",
        licence="MIT",
    )  # fmt: skip


def test_every_metric_between_0_and_1_is_known_as_one():
    """Runs are compared by points of a hundred where the metric is a share: none is missing, and none is nobody's."""
    metrics = {name for task in all_tasks().values() for name in task.metrics}
    assert metrics - SHARES == {"mcc", "spearman", "pearson", "r2", "mae", "perplexity"}
    assert metrics >= SHARES


def test_a_runs_tokens_are_those_of_one_training():
    """Three folds of a thousand tokens are three trainings of a thousand; what was never read keeps its sum."""
    assert run_of(OUTCOME).tokens == 1000
    assert run_of(replace(OUTCOME, status="out_of_memory", curve=(), tokens=0)).tokens == 0


def test_a_score_without_error_has_no_quality_to_compare():
    """An error of nothing cannot be set beside others by its logarithm, so the run is kept without it, and readable."""
    for metric, perfect, usual in (("mae", 0.0, 0.1), ("perplexity", 1.0, 1.1)):
        run = run_of(replace(OUTCOME, metrics={metric: perfect}), metric, lower_is_better=True)
        assert (run.quality, problems(run)) == (None, [])
        run = run_of(replace(OUTCOME, metrics={metric: usual}), metric, lower_is_better=True)
        assert run.quality is not None
        assert run.quality.value == usual
