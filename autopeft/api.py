"""What Python code calls: the same values that the commands print."""

from collections.abc import Mapping
from pathlib import Path

from autopeft.profiling import profile
from autopeft.recommend.suggest import suggest
from autopeft.values.candidates import Constraints
from autopeft.values.names import Task
from autopeft.values.outcomes import SearchResult

__all__ = ["profile", "search", "suggest"]


def search(
    model: str,
    data: str,
    *,
    output: str | Path = "autopeft-search",
    trials: int | None = None,
    seconds: float | None = None,
    resume: bool = False,
    task: Task | None = None,
    columns: Mapping[str, str] | None = None,
    metric: str | None = None,
    folds: int | None = None,
    repeats: int | None = None,
    trial_tokens: int | None = None,
    seed: int = 0,
    constraints: Constraints = Constraints(),  # noqa: B008 - frozen
) -> SearchResult:
    """Returns the result of a search for the best way to fine-tune a model on some data.

    Args:
        model: folder, hub name or GGUF file.
        data: CSV, JSONL or Parquet file, ``datasets`` folder, or hub name.
        output: folder for the study, ``tuned.yaml``, ``trials.csv`` and ``result.json``.
        trials: at most so many trials; None for no limit.
        seconds: at most so much time for the trials; 30 minutes where neither limit is given.
        resume: go on with the study in ``output``.
        task: the task type, detected by default.
        columns: column by role, such as ``{"text": "review"}``, detected by default.
        metric: one of the task's metrics, or ``package.module:function``.
        folds: cross-validation folds per trial; 3 below 3,000 training rows and 1 above by default.
        repeats: of the cross-validation, each time with other folds; 2 by default.
        trial_tokens: training tokens of a full trial; sized from the time by default.
        seed: of everything random.
        constraints: memory, trainable parameters, methods.

    Raises:
        AutopeftError: bad input, nothing fits, or another study is in ``output``.
    """
    from autopeft.tuning.observer import Silent
    from autopeft.tuning.prepare import Request
    from autopeft.tuning.session import limits, run_search

    request = Request(
        model=model,
        data=data,
        task=task,
        columns=columns,
        metric=metric,
        folds=folds,
        repeats=repeats,
        tokens=trial_tokens,
        seed=seed,
        constraints=constraints,
    )
    return run_search(request, Path(output), limits(trials, seconds), resume=resume, observer=Silent())
