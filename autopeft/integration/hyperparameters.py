"""A hyperparameter search over methods and their settings with a Trainer that is there already."""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import optuna

from autopeft import __version__
from autopeft.errors import NothingFitsError, OutOfMemoryError, invalid
from autopeft.integration.borrowed import Borrowed, borrowed
from autopeft.integration.pruning import AutoPeftPruningCallback
from autopeft.integration.subject import Subject, read_subject
from autopeft.methods import all_methods, get_method
from autopeft.profiling.hardware import probe_hardware
from autopeft.recommend import recommend
from autopeft.recommend.setting import Setting, setting_of
from autopeft.tasks import get_task
from autopeft.training.devices import memory_guard
from autopeft.tuned import SCHEMA_VERSION, FullTraining, ModelReference, Provenance, TunedConfig
from autopeft.tuning.feasible import obstacles
from autopeft.tuning.proposal import Proposal, proposal
from autopeft.tuning.selection import METHODS_TRIED, starting_candidates
from autopeft.values.candidates import Candidate, Constraints, Setup
from autopeft.values.data import DataSpec
from autopeft.values.names import Status, Task
from autopeft.values.outcomes import TrialOutcome

if TYPE_CHECKING:
    from optuna.trial import Trial

READINGS = 4
"""Parts of a trial at whose ends its loss is read: a quarter, a half, three quarters and the end."""

REDUCTION = 3
"""One trial in so many goes on from the first reading (successive halving, Li et al., arXiv 1810.05934)."""


@dataclass(frozen=True, kw_only=True)
class TunedRun:
    """The best of several trainings with one Trainer.

    Attributes:
        tuned: its configuration, ready to be saved, loaded and trained.
        metric: what decided.
        value: its value on the trainer's evaluation rows: the best of several, so partly luck. Score it on others.
        outcomes: every trial, whatever came of it.
    """

    tuned: TunedConfig
    metric: str
    value: float
    outcomes: tuple[TrialOutcome, ...]


def search_with(
    trainer: Any, n_trials: int, constraints: Constraints, task: Task | None, seed: int, tell: Callable[[str], None]
) -> TunedRun:
    """Returns the best of so many trainings; `autopeft.hyperparameter_search` says the rest."""
    if n_trials < 1:
        raise invalid("n_trials", "a hyperparameter search", "at least 1", n_trials)
    began = time.monotonic()
    subject = read_subject(trainer, task)
    hardware = probe_hardware()
    setting = setting_of(hardware, subject.model, subject.task, _possible(constraints, trainer))
    starts = _starts(subject, setting)
    with borrowed(trainer, subject) as lent:
        trials = _Trials(lent, proposal(starts, setting.model.layers, gradients=False), setting, seed)
        for _ in range(n_trials):
            outcome = trials.run()
            tell(f"{outcome.number:>3} {outcome.status:<13} {outcome.candidate.method} {outcome.reason}".rstrip())
    return _best(trainer, subject, trials.outcomes, time.monotonic() - began)


def _possible(constraints: Constraints, trainer: Any) -> Constraints:
    """Returns the constraints without methods that take room from the context where the trainer has its own loss.

    They lengthen the sequence inside the model, so its logits no longer stand beside the labels that such a loss
    (TRL's, for one) compares them with.

    Raises:
        InvalidValueError: one of them was asked for by name.
    """
    if not _has_own_loss(trainer):
        return constraints
    if asked := [name for name in constraints.methods if get_method(name).capabilities.uses_context]:
        owner = f"a search with {type(trainer).__name__}, which has a loss of its own,"
        raise invalid("methods", owner, "without those that take room from the context", ", ".join(asked))
    longer = tuple(name for name, method in all_methods().items() if method.capabilities.uses_context)
    return replace(constraints, exclude=(*constraints.exclude, *longer))


def _has_own_loss(trainer: Any) -> bool:
    """Whether it is the trainer that compares logits with labels, and not the model that it trains."""
    from transformers import Trainer

    own = type(trainer).compute_loss is not Trainer.compute_loss
    return own or trainer.label_smoother is not None or trainer.compute_loss_func is not None


def _starts(subject: Subject, setting: Setting) -> tuple[Candidate, ...]:
    """Returns the first candidate of each recommended method, on the model as the trainer holds it."""
    found = recommend(setting.hardware, setting.model, setting.task, setting.constraints, traced=0)
    limit = None if setting.constraints.methods else METHODS_TRIED
    held = starting_candidates(found, setting, limit)
    return tuple(_held(start, subject) for start in held)


def _held(start: Candidate, subject: Subject) -> Candidate:
    able = get_method(start.method).capabilities
    # A model's own weights stay in what they were loaded in, whatever a trainer computes in; in float16 none train.
    dtype = able.dtype_beside(subject.weights if able.trains_base else subject.dtype)
    return replace(start, quantization=subject.quantization, dtype=dtype)


class _Trials:
    """Runs trials of one study, each a whole training unless the study gives it up on the way."""

    def __init__(self, lent: Borrowed, proposed: Proposal, setting: Setting, seed: int) -> None:
        self._lent, self._proposed, self._setting = lent, proposed, setting
        self._every = max(1, lent.subject.tokens // READINGS)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            direction="minimize",
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=len(proposed.spaces)),
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=self._every, reduction_factor=REDUCTION),
        )
        for start in proposed.starts.values():
            self._study.enqueue_trial(proposed.fixed(start))
        self.outcomes: list[TrialOutcome] = []

    def run(self) -> TrialOutcome:
        """Runs the next trial and returns what came of it."""
        trial = self._study.ask()
        outcome = self._outcome(trial, self._proposed.draw(trial))
        pruned = outcome.status != "completed"
        state = optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE
        self._study.tell(trial, None if pruned else outcome.metrics["eval_loss"], state=state)
        self.outcomes.append(outcome)
        return outcome

    def _outcome(self, trial: "Trial", candidate: Candidate) -> TrialOutcome:
        setting, outcome = self._setting, TrialOutcome(number=trial.number, status="completed", candidate=candidate)
        steps = self._lent.subject.steps(candidate.batch_size * candidate.accumulation)
        setup = Setup(model=setting.model, task=setting.model.task, candidate=candidate, total_steps=steps)
        problems = obstacles(
            setup, setting.tokens_per_row, setting.hardware, setting.memory_limit, setting.constraints.max_trainable
        )
        if problems:
            return replace(outcome, status="infeasible", reason=" ".join(problems))
        began, callback = time.monotonic(), AutoPeftPruningCallback(trial, every_tokens=self._every)
        try:
            with memory_guard():
                metrics, trained = self._lent.train(candidate, callback)
        except OutOfMemoryError as error:
            return replace(outcome, status="out_of_memory", reason=str(error), seconds=time.monotonic() - began)
        except optuna.TrialPruned as told:
            status: Status = "diverged" if callback.diverged else "pruned"
            return replace(outcome, status=status, reason=str(told), seconds=time.monotonic() - began)
        seconds = time.monotonic() - began
        if not math.isfinite(metrics["eval_loss"]):
            return replace(outcome, status="diverged", reason="eval_loss is not finite", seconds=seconds)
        tokens = int(self._lent.trainer.state.num_input_tokens_seen)
        return replace(outcome, metrics=metrics, seconds=seconds, tokens=tokens, trainable_parameters=trained)


def _best(trainer: Any, subject: Subject, outcomes: Sequence[TrialOutcome], seconds: float) -> TunedRun:
    metric, higher = _objective(trainer.args)
    completed = [outcome for outcome in outcomes if outcome.status == "completed"]
    if not completed:
        reasons = "\n".join(f"  {o.candidate.method}: {o.status}: {o.reason}" for o in outcomes)
        raise NothingFitsError(f"No trial was completed:\n{reasons}")
    if metric not in completed[0].metrics:
        known = f"one of {', '.join(sorted(completed[0].metrics))}"
        raise invalid("metric_for_best_model", "the trainer's arguments", known, metric)
    sign = -1.0 if higher else 1.0
    best = min(completed, key=lambda o: (sign * o.metrics[metric], o.metrics["eval_loss"], o.number))
    return TunedRun(
        tuned=_tuned(trainer.args, subject, best.candidate, metric, outcomes, seconds),
        metric=metric, value=best.metrics[metric], outcomes=tuple(outcomes),
    )  # fmt: skip


def _objective(args: Any) -> tuple[str, bool]:
    """Returns what decides, by the trainer's own arguments, and whether more of it is better."""
    name = args.metric_for_best_model or "loss"
    higher = args.greater_is_better if args.greater_is_better is not None else not name.endswith("loss")
    return f"eval_{name.removeprefix('eval_')}", higher


def _tuned(
    args: Any, subject: Subject, candidate: Candidate, metric: str, outcomes: Sequence[TrialOutcome], seconds: float
) -> TunedConfig:
    steps = subject.steps(candidate.batch_size * candidate.accumulation)
    model, task = subject.model, subject.task
    known, decided = get_task(task.task), metric.removeprefix("eval_")
    return TunedConfig(
        schema_version=SCHEMA_VERSION,
        model=ModelReference(
            source=model.source, fingerprint=model.fingerprint, task=model.task, labels=model.labels
        ),
        candidate=candidate,
        data=DataSpec(
            source=task.source, task=task.task, columns={}, labels=task.labels, token_limit=task.tokens.longest,
            metric=decided if decided in known.metrics else known.default_metric(1.0),
        ),
        training=FullTraining(
            epochs=subject.epochs, steps=steps, warmup_share=args.get_warmup_steps(steps) / steps,
            weight_decay=args.weight_decay, max_gradient_norm=args.max_grad_norm, seed=args.seed, head_seed=args.seed,
        ),
        provenance=Provenance(
            autopeft_version=__version__, trials=dict(Counter(outcome.status for outcome in outcomes)),
            search_seconds=seconds,
        ),
    )  # fmt: skip
