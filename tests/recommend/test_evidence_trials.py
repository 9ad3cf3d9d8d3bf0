"""A trial becomes a run whose quality is counted as what it is."""

from autopeft.recommend._evidence_trials import SHARES
from autopeft.tasks import all_tasks


def test_every_metric_between_0_and_1_is_known_as_one():
    """Runs are compared by points of a hundred where the metric is a share: none is missing, and none is nobody's."""
    metrics = {name for task in all_tasks().values() for name in task.metrics}
    assert metrics - SHARES == {"mcc", "spearman", "pearson", "r2", "mae", "perplexity"}
    assert metrics >= SHARES
