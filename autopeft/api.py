"""What Python code calls: the same values that the commands print."""

from collections.abc import Mapping
from pathlib import Path

from autopeft.profiling import profile
from autopeft.recommend.suggest import suggest
from autopeft.values.candidates import Candidate, Constraints
from autopeft.values.costs import RunCost
from autopeft.values.names import ParameterValue, Task
from autopeft.values.outcomes import SearchResult

__all__ = ["estimate", "profile", "search", "suggest"]


def estimate(
    model: str,
    *,
    method: str | None = None,
    parameters: Mapping[str, ParameterValue] | None = None,
    targets: str | None = None,
    layers: str | None = None,
    quantization: str = Candidate.quantization,
    dtype: str | None = None,
    optimizer: str = Candidate.optimizer,
    learning_rate: float | None = None,
    batch_size: int = 1,
    accumulation: int = 1,
    sequence_length: int | None = None,
    gradient_checkpointing: bool = False,
    task: str | None = None,
    gpu: str | None = None,
    memory_bytes: int | None = None,
    reserve_bytes: int = 0,
    strategy: str = "none",
    devices: int = 1,
    maximize: str | None = None,
    measure: bool = False,
) -> RunCost:
    """Returns the peak memory and the step time of one way to fine-tune, without a GPU and without weights.

    Args:
        model: a folder (``config.json`` is enough), a hub name or a GGUF file.
        method: a method of the catalogue, by default the default recipe's.
        parameters: its parameters, such as ``{"rank": 16}``; the recipe's where they are not given.
        targets: ``attention``, ``qv``, ``mlp``, ``all-linear`` or module names separated by commas.
        layers: ``all``, ``last:K``, ``every:N`` or ``gradient:K``.
        quantization: how the base weights are stored, such as ``nf4-double``.
        dtype: ``float32``, ``bfloat16`` or ``float16``; by default the device's.
        optimizer: an optimizer of the catalogue.
        learning_rate: above 0; it costs nothing.
        batch_size: rows per forward pass.
        accumulation: forward passes per optimizer step.
        sequence_length: tokens per row; 512, or the model's positions where they are fewer.
        gradient_checkpointing: recompute activations in the backward pass.
        task: the task type, by default that of the kind of model.
        gpu: a card of the catalogue instead of this machine's.
        memory_bytes: plan as if the device had this much memory.
        reserve_bytes: memory to leave to others, such as a display.
        strategy: ``none``, ``ddp`` or ``fsdp``.
        devices: how many work together under it.
        maximize: find the largest ``batch-size``, ``sequence-length`` or ``rank`` that fits; the cost is that run's.
        measure: time this machine's device first.

    Raises:
        AutopeftError: a name, a number or a combination cannot be, or the model cannot be read.
    """
    from autopeft.estimation.answer import answer, run_cost
    from autopeft.estimation.question import Question

    given = {"targets": targets, "layers": layers}
    settings = {**(parameters or {}), **{key: value for key, value in given.items() if value is not None}}
    question = Question(
        model=model, method=method, settings=settings, quantization=quantization, dtype=dtype, optimizer=optimizer,
        learning_rate=learning_rate, batch_size=batch_size, accumulation=accumulation,
        sequence_length=sequence_length, gradient_checkpointing=gradient_checkpointing, task=task, gpu=gpu,
        memory_bytes=memory_bytes, reserve_bytes=reserve_bytes, strategy=strategy, devices=devices, measure=measure,
    )  # fmt: skip
    return run_cost(answer(question, maximize))


def search(
    model: str,
    data: str,
    *,
    output: str | Path = "autopeft-search",
    trials: int | None = None,
    seconds: float | None = None,
    tokens: int | None = None,
    stop_when_flat: bool = False,
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
        output: folder for the study, ``tuned.yaml``, ``trials.csv``, ``result.json`` and ``report.html``.
        trials: at most so many trials; None for no limit.
        seconds: at most so much time for the trials; 30 minutes where no limit is given.
        tokens: at most so many training tokens in all trials together.
        stop_when_flat: stop when the last trials have brought nothing better.
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
    from autopeft.report import write_report
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
    stops = limits(trials, seconds, tokens, when_flat=stop_when_flat)
    result = run_search(request, Path(output), stops, resume=resume, observer=Silent())
    write_report(Path(output))
    return result
