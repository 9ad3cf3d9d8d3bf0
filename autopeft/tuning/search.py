"""The end of a search: the winner trained anew beside its baselines, on the untouched test split."""

import time
from collections.abc import Mapping, Sequence

from autopeft.errors import NothingFitsError, StudyError
from autopeft.tasks import get_task
from autopeft.tuning.compare import Comparison, default_recipe
from autopeft.tuning.finalists import finalists, hold_final
from autopeft.tuning.folder import OutputFolder, Settings
from autopeft.tuning.observer import Observer
from autopeft.tuning.pareto import Front, explained, search_front, unmeasured
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.ranking import ranking
from autopeft.tuning.references import tfidf
from autopeft.tuning.study import TrialStudy
from autopeft.tuning.trainer import Trainer
from autopeft.values.candidates import Candidate
from autopeft.values.names import STATUSES
from autopeft.values.outcomes import Score, SearchResult, TrialOutcome
from autopeft.values.plans import Plan


def finish(
    prepared: Prepared,
    trainer: Trainer,
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
    objective = prepared.objective
    contest = trainer.contest(plan, seconds=study.seconds, racing_rows=settings.size.pruning_rows)
    comparison = Comparison(contest, objective, plan.seed, folder.path / "comparison")
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
        references=_references(prepared, comparison, winner.candidate),
        trials={status: sum(o.status == status for o in outcomes) for status in STATUSES},
        seconds=study.seconds,
        comparison_seconds=time.monotonic() - started,
        overhead_seconds=_overhead(study, outcomes),
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


def _overhead(study: TrialStudy, outcomes: Sequence[TrialOutcome]) -> float:
    """Returns the seconds of a search in which a worker, in the mean over all of them, neither trained nor scored."""
    busy, there = sum(o.seconds - o.overhead_seconds for o in outcomes), study.worker_seconds
    return study.seconds * (there - busy) / there if there else 0.0


def _references(prepared: Prepared, comparison: Comparison, candidate: Candidate) -> Mapping[str, Score]:
    seed, objective = prepared.seed + 1, prepared.objective
    scores = {
        "untuned": comparison.untuned(candidate, seed),
        "tfidf_logistic_regression": tfidf(prepared.data, get_task(prepared.model.task), objective, seed),
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
    if all(outcome.too_slow for outcome in outcomes):
        return "The machine is slower than when its speed was measured: search anew, with another --out"
    return "Give it more --time and --resume"
