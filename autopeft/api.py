"""What Python code calls: the same values that the commands print."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopeft.profiling import profile
from autopeft.recommend.suggest import suggest
from autopeft.values.candidates import Candidate, Constraints, Team
from autopeft.values.costs import RunCost
from autopeft.values.names import ParameterValue, Strategy, Task
from autopeft.values.outcomes import SearchResult

if TYPE_CHECKING:
    from autopeft.integration.hyperparameters import TunedRun

__all__ = ["estimate", "hyperparameter_search", "profile", "search", "suggest"]


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
    checkpointing: str | None = None,
    loss: str = "whole",
    attention: str = "sdpa",
    packing: bool = False,
    autocast: bool = True,
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
        checkpointing: ``reentrant`` or ``non-reentrant``, where other code than autopeft's trains: how it recomputes.
        loss: ``chunked`` where it computes head and loss for some of the tokens at a time, as Liger does.
        attention: ``eager`` or ``flash`` where it asks for that, else torch picks a kernel for the device.
        packing: it packs the texts of a batch into one row, without padding.
        autocast: it trains under autocast; else each weight computes in its own dtype.

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
        checkpointing=checkpointing, loss=loss, attention=attention, packing=packing, autocast=autocast,
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
    token_limit: int | None = None,
    class_weights: bool = False,
    folds: int | None = None,
    repeats: int | None = None,
    trial_tokens: int | None = None,
    seed: int = 0,
    constraints: Constraints = Constraints(),  # noqa: B008 - frozen
    max_trainable: str | None = None,
    search_spaces: str | Path | None = None,
    keep_evidence: bool = True,
    objectives: Sequence[str] = ("quality",),
    general_text: str | Path | None = None,
    track: Sequence[str] = (),
    workers: int | None = None,
    gpus: Sequence[str] = (),
    storage: str | None = None,
    study: str = "autopeft",
    ray: str | None = None,
    strategy: Strategy = "none",
    devices: int = 1,
    show: bool | None = None,
) -> SearchResult:
    """Returns the result of a search for the best way to fine-tune a model on some data.

    In a notebook a table of its trials grows below the cell.

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
        token_limit: cut rows at so many tokens; by default at what nearly all of them, and the model, hold.
        class_weights: weigh the classes in the loss by how rare they are.
        folds: cross-validation folds per trial; by default 1, or below 3,000 training rows 3, fewer in a short time.
        repeats: of the cross-validation, each time with other folds; 2 by default.
        trial_tokens: training tokens of a full trial; sized from the time by default.
        seed: of everything random.
        constraints: memory, trainable parameters, methods.
        max_trainable: most trained parameters, as ``5M`` or ``1%``; wins over the constraints'.
        search_spaces: folder of search-space files to use in place of the project's own.
        keep_evidence: keep the trials among your own measured runs, which later advice rests on.
        objectives: ``quality`` with any of ``memory``, ``time``, ``forgetting`` and ``latency``; the result then has
            their Pareto front, and its knee is the winner.
        general_text: file to measure forgetting on, one text per line; the project's own sentences by default.
        track: ``mlflow``, ``wandb``, ``tensorboard`` or ``trackio``, to log each trial and the winner to.
        workers: run trials in so many processes, one for each GPU; by default in this one, and on a machine without a
            GPU in up to four that share its cores, where only the time is limited.
        gpus: train on these alone, by number or UUID, one process for each.
        storage: URL of a PostgreSQL database in which any number of machines join one study.
        study: its name there.
        ray: address of a Ray cluster to train on, empty for the one that Ray finds or starts.
        strategy: ``ddp`` or ``fsdp`` to train each trial on several devices: a whole model on each, or a share of it.
        devices: how many train a trial together.
        show: whether to show the table; by default where the code runs in a notebook.

    Raises:
        RunningElsewhereError: trials of a shared study still run elsewhere: the machine that ends last compares.
        AutopeftError: bad input, nothing fits, or another study is in ``output``.
    """
    from autopeft.integration.notebook import observer
    from autopeft.report import write_report
    from autopeft.tuning.prepare import Request
    from autopeft.tuning.session import limits, run_search
    from autopeft.tuning.spread import Spread
    from autopeft.tuning.trackers import Tracked

    if strategy != "none" or devices != 1:
        constraints = replace(constraints, team=Team(strategy=strategy, devices=devices))
    request = Request(
        model=model,
        data=data,
        task=task,
        columns=columns,
        metric=metric,
        token_limit=token_limit,
        class_weights=class_weights,
        folds=folds,
        repeats=repeats,
        tokens=trial_tokens,
        seed=seed,
        constraints=constraints,
        max_trainable=max_trainable,
        spaces=None if search_spaces is None else Path(search_spaces),
        teach=keep_evidence,
        objectives=tuple(objectives),
        general_text=None if general_text is None else Path(general_text),
    )
    stops = limits(trials, seconds, tokens, when_flat=stop_when_flat)
    spread = Spread(workers=workers, gpus=tuple(gpus), storage=storage, study=study, ray=ray)
    watched = Tracked(observer(show=show), track, Path(output))
    result = run_search(request, Path(output), stops, resume=resume, observer=watched, spread=spread)
    watched.finished(result)
    write_report(Path(output))
    return result


def hyperparameter_search(
    trainer: Any,
    *,
    n_trials: int,
    methods: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    task: Task | None = None,
    seed: int = 0,
    verbose: bool = True,
) -> "TunedRun":
    """Returns the best of so many trainings over PEFT methods and their settings, with a Trainer that is there already.

    Trainer.hyperparameter_search tunes what stands in its arguments; this chooses the method too. Each trial attaches
    one to the trainer's model, from the recommender's starts and then from the methods' search spaces, and trains it
    on the trainer's rows, with its collator, metrics and callbacks, for as long as its arguments say
    (``num_train_epochs`` or ``max_steps``), unless its loss falls behind (`AutoPeftPruningCallback`). What decides is
    ``metric_for_best_model`` and ``greater_is_better`` of its arguments, else the loss. The trial sets learning rate,
    its schedule, optimizer and rows per step. Where the trainer has a loss of its own, methods that take room from
    the context are left out. Afterwards the trainer holds what it held: the untouched model.

    Args:
        trainer: transformers' Trainer, or one built on it, around a base model loaded from a folder or a name.
        n_trials: trainings at most; one that is pruned counts.
        methods: only these.
        exclude: never these.
        task: the task type; by the model's head where it is None.
        seed: of what is proposed; trainings are seeded by the trainer's arguments.
        verbose: print a line per trial.

    Raises:
        InvalidValueError: a method, a metric or the trainer's data is not what it should be.
        ModelError: the model has an adapter already, or its config cannot be read.
        NothingFitsError: nothing fits, or no trial was completed.

    Example:
        >>> best = autopeft.hyperparameter_search(trainer, n_trials=20)  # doctest: +SKIP
        >>> best.tuned.save("tuned.yaml")  # doctest: +SKIP
    """
    from autopeft.integration.hyperparameters import search_with

    constraints = Constraints(methods=methods, exclude=exclude)
    return search_with(trainer, n_trials, constraints, task, seed, _say if verbose else _nothing)


def _say(line: str) -> None:
    print(line)  # noqa: T201 - called from a script or a notebook


def _nothing(_line: str) -> None:
    """Says nothing."""
