"""The search itself: trials until the budget is spent, then the comparison, then the files."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from autopeft.errors import NothingFitsError, StudyError
from autopeft.training.worker import Worker
from autopeft.tuning.compare import Comparison, default_recipe
from autopeft.tuning.finalists import finalists, hold_final
from autopeft.tuning.folder import OutputFolder, Settings
from autopeft.tuning.halving import READINGS, best_waiting, promotable, waiting
from autopeft.tuning.limits import Limits, may_begin, may_go_on
from autopeft.tuning.observer import Observer
from autopeft.tuning.pareto import Front, explained, search_front, unmeasured
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.references import tfidf, untuned
from autopeft.tuning.runner import Runner
from autopeft.tuning.study import TrialStudy
from autopeft.values.candidates import Candidate
from autopeft.values.names import STATUSES
from autopeft.values.outcomes import Measurement, Score, SearchResult, TrialOutcome
from autopeft.values.plans import Plan

if TYPE_CHECKING:
    from optuna.trial import Trial

SLOWEST = 1.5
"""A trial may take so many times what a full one was planned for: one that stops at a quarter, six times as long."""

LEAST_SECONDS = 10.0
"""What a trial may always take: plans of a few seconds are mostly noise."""

Turn = tuple["Trial", Candidate, TrialOutcome | None]
"""A trial to run, its candidate, and the trial that it goes on from."""


class Trials:
    """Runs trials of a study until a limit is met, each rejected by the estimate before it can run out of memory."""

    def __init__(
        self, study: TrialStudy, runner: Runner, prepared: Prepared, settings: Settings, observer: Observer
    ) -> None:
        """Prepares the loop; `run` starts it."""
        self._study, self._runner, self._prepared = study, runner, prepared
        self._settings, self._observer = settings, observer
        self._plan = Plan(tokens=settings.size.tokens, seed=prepared.seed, readings=READINGS)

    def run(self, limits: Limits, began: float) -> None:
        """Runs trials; ``began`` is when this search's clock started, on ``time.monotonic``."""
        spent_before = self._study.seconds
        deadline = float("inf") if limits.seconds is None else began + limits.seconds - spent_before
        while (turn := self._next(limits, deadline)) is not None:
            trial, candidate, earlier = turn
            self._observer.trial_started(trial.number, candidate)
            outcome = self._outcome(trial, candidate, deadline, earlier)
            self._study.tell(trial, outcome)
            spent = spent_before + time.monotonic() - began
            self._study.spend(spent)
            outcomes = self._study.outcomes()
            self._runner.keep(waiting(outcomes))
            self._observer.trial_ended(outcome, best_trial(outcomes), spent)

    def _next(self, limits: Limits, deadline: float) -> Turn | None:
        """Returns whose turn it is: the recommended starts first, then who is promoted, then a new trial."""
        outcomes = self._study.outcomes()
        left = deadline - time.monotonic()
        new = may_begin(limits, outcomes, left)
        if self._study.queued and new:
            return (*self._study.ask(), None)
        earlier = promotable(outcomes) or (None if new or limits.seconds is None else best_waiting(outcomes))
        if earlier is not None and may_go_on(limits, outcomes, left):
            return (*self._study.ask_again(earlier), earlier)
        return (*self._study.ask(), None) if new else None

    def _outcome(
        self, trial: "Trial", candidate: Candidate, deadline: float, earlier: TrialOutcome | None
    ) -> TrialOutcome:
        problems = self._prepared.obstacles(candidate)
        if problems:
            return TrialOutcome(
                number=trial.number, status="infeasible", candidate=candidate, reason=" ".join(problems)
            )
        first = self._trained(trial, candidate, deadline, earlier)
        if first.status != "out_of_memory" or candidate.batch_size == 1:
            return first
        halved = replace(candidate, batch_size=candidate.batch_size // 2, accumulation=candidate.accumulation * 2)
        second = self._trained(trial, halved, deadline, None)
        return replace(
            second,
            seconds=first.seconds + second.seconds,
            overhead_seconds=first.overhead_seconds + second.overhead_seconds,
            reason=f"{candidate.batch_size} rows at once ran out of memory, so it was run with half. {second.reason}",
        )

    def _trained(
        self, trial: "Trial", candidate: Candidate, deadline: float, earlier: TrialOutcome | None
    ) -> TrialOutcome:
        others = [o for o in self._study.outcomes() if earlier is None or o.number != earlier.number]
        curve = list(earlier.curve) if earlier else []

        def stops(reading: Measurement) -> bool:
            self._study.report(trial, reading, len(curve))
            curve.append(reading)
            here = TrialOutcome(number=trial.number, status="pruned", candidate=candidate, curve=tuple(curve))
            # Who would be promoted at once need not be taken off and put on again.
            return self._study.queued or promotable([*others, here]) is not here

        return self._runner.run(trial.number, candidate, self._plan, stops, min(deadline, self._latest()), earlier)

    def _latest(self) -> float:
        """Returns when a trial that starts now has to be done: a method too slow to try is a finding, not a wait."""
        training = self._settings.size.tokens / self._settings.tokens_per_second
        return time.monotonic() + max(LEAST_SECONDS, SLOWEST * training * len(self._prepared.parts))


def best_trial(outcomes: Sequence[TrialOutcome]) -> TrialOutcome | None:
    """Returns the completed trial with the best score; the lower validation loss breaks a tie."""
    ranked = ranking(outcomes)
    return ranked[0] if ranked else None


def ranking(outcomes: Sequence[TrialOutcome]) -> list[TrialOutcome]:
    """Returns the completed trials, best first."""
    completed = [outcome for outcome in outcomes if outcome.status == "completed" and outcome.score is not None]
    return sorted(completed, key=lambda o: (-(o.score or 0.0), o.curve[-1].validation_loss, o.number))


def finish(
    prepared: Prepared,
    worker: Worker,
    study: TrialStudy,
    folder: OutputFolder,
    settings: Settings,
    observer: Observer,
) -> SearchResult:
    """Returns the result: the winner trained anew beside its baselines, scored on the untouched test split.

    The best of many noisy trials is partly luck, so the last few are trained anew with seeds that no trial has used,
    and chosen among by validation: see `autopeft.tuning.finalists`. Of several objectives the knee is trained anew.

    Raises:
        NothingFitsError: no trial could run at all.
        StudyError: no trial was completed.
    """
    started = time.monotonic()
    outcomes = study.outcomes()
    ranked = ranking(outcomes)
    if not ranked:
        infeasible = all(outcome.status == "infeasible" for outcome in outcomes)
        raise (NothingFitsError if infeasible else StudyError)(_nothing_completed(outcomes, folder))
    # Fold k of a trial trains with the search's seed plus k.
    plan = Plan(tokens=settings.size.tokens, seed=prepared.seed + len(prepared.parts))
    data, objective = prepared.encoded, prepared.objective
    comparison = Comparison(
        worker,
        data,
        plan,
        objective,
        folder=folder.path / "comparison",
        seconds=study.seconds,
        racing_rows=settings.size.pruning_rows,
    )
    found = search_front(outcomes, prepared.objectives)
    first, reserve = _first_and_reserve(found, ranked, study.seconds)
    final = hold_final(comparison, first, reserve, objective, plan.seed, observer.phase)
    winner, default = final.winner, default_recipe(final.winner.candidate)
    observer.phase("Training the default recipe for as many tokens")
    default_lora = comparison.single("default_lora", default)
    observer.phase("Racing four learning rates of the default recipe")
    raced_lora = comparison.raced("raced_lora", default)
    observer.phase("Scoring what needs no fine-tuning")
    return SearchResult(
        winner=comparison.contender(winner),
        default_lora=comparison.contender(default_lora),
        raced_lora=comparison.contender(raced_lora),
        difference={
            "default_lora": comparison.difference(winner, default_lora),
            "raced_lora": comparison.difference(winner, raced_lora),
        },
        references=_references(prepared, worker, winner.candidate),
        trials={status: sum(o.status == status for o in outcomes) for status in STATUSES},
        seconds=study.seconds,
        comparison_seconds=time.monotonic() - started,
        overhead_seconds=study.seconds - sum(o.seconds - o.overhead_seconds for o in outcomes),
        output=str(folder.path),
        notes=(*prepared.notes, *unmeasured(found)),
        winner_trial=final.chosen.number,
        finalists=final.finalists,
        objectives=prepared.objectives,
        pareto=found.points(objective.signed(1.0)),
        knee=explained(final.chosen, found, objective.name, objective.signed(1.0)) if found.trials else None,
    )


def _first_and_reserve(
    found: Front, ranked: Sequence[TrialOutcome], seconds: float
) -> tuple[Sequence[TrialOutcome], Sequence[TrialOutcome]]:
    """Returns who is trained anew at the end, and who comes next should all of them diverge."""
    if found.preferred:
        # Fresh scores say nothing on costs, so a front has no final: its knee is trained anew, and stands.
        return found.preferred[:1], found.preferred[1:]
    first = finalists(ranked, seconds)
    return first, ranked[len(first) :]


def _references(prepared: Prepared, worker: Worker, candidate: Candidate) -> Mapping[str, Score]:
    seed, objective = prepared.seed + 1, prepared.objective
    scores = {
        "untuned": untuned(worker, prepared.encoded, objective, candidate, seed),
        "tfidf_logistic_regression": tfidf(prepared.data, worker.task, objective, seed),
    }
    return {name: value for name, value in scores.items() if value is not None}


def _nothing_completed(outcomes: Sequence[TrialOutcome], folder: OutputFolder) -> str:
    counts = ", ".join(f"{sum(o.status == s for o in outcomes)} {s}" for s in STATUSES)
    reasons = sorted({o.reason for o in outcomes if o.reason})[:3]
    return "\n".join([f"No trial was completed ({counts}).", *reasons, f"{_advice(outcomes)}; see {folder.trials}."])


def _advice(outcomes: Sequence[TrialOutcome]) -> str:
    if all(outcome.status in ("infeasible", "out_of_memory") for outcome in outcomes):
        return "Free memory, raise --memory or --max-trainable, or take a smaller model or shorter rows"
    if all(outcome.status == "diverged" for outcome in outcomes):
        return "Lower the learning rates in files of your own, with --search-spaces"
    return "Give it more --time and --resume"
