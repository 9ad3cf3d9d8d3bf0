"""The end of a search: the winner trained anew beside its baselines, on the untouched test split."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from autopeft.errors import NothingFitsError, StudyError
from autopeft.training.scoring import Objective
from autopeft.tuned import TunedConfig
from autopeft.tuning.baselines import Baseline, ahead_on_validation, beside
from autopeft.tuning.budget import scored_rows, trial_seconds
from autopeft.tuning.compare import Comparison
from autopeft.tuning.finalists import Final, finalists, hold_final
from autopeft.tuning.folder import OutputFolder, Settings
from autopeft.tuning.observer import Observer
from autopeft.tuning.pareto import Front, explained, search_front, unmeasured
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.ranking import counted, ranking
from autopeft.tuning.study import TrialStudy
from autopeft.tuning.trainer import Contests
from autopeft.tuning.winner import tuned_config
from autopeft.tuning.yardsticks import final_and_yardsticks, yardsticks
from autopeft.values.outcomes import Contender, Score, SearchResult, TrialOutcome
from autopeft.values.plans import Plan

LEAST_TRIALS = 3
"""A contender may take the seconds of so many full trials at the least: workers that were killed leave no time of their
own by which it could be bounded."""


def finish(
    prepared: Prepared,
    contests: Contests,
    study: TrialStudy,
    folder: OutputFolder,
    settings: Settings,
    observer: Observer,
) -> SearchResult:
    """Returns the result: the winner trained anew beside its baselines, scored on the untouched test split.

    The best of many noisy trials is partly luck, so the last few are trained anew with seeds that no trial has used,
    and chosen among by validation: see `autopeft.tuning.finalists`. Of several objectives the knee is trained anew.
    ``tuned.yaml`` is written as soon as the winner is known: what follows only compares.

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
    seconds = _most_seconds(study, prepared, settings)
    contest = contests.contest(plan, seconds=seconds, racing_rows=settings.size.pruning_rows)
    comparison = Comparison(contest, objective, plan.seed, folder.path / "comparison", observer.phase)
    found = search_front(outcomes, prepared.objectives)
    first, reserve = _first_and_reserve(found, ranked, seconds, contests.at_once)
    rows = scored_rows(settings.size, prepared.parts)
    counts = counted(outcomes)
    config = partial(tuned_config, prepared, trials=counts, seconds=study.seconds)

    def hold() -> Final:
        final = hold_final(comparison, first, reserve, objective, plan.seed, rows)
        config(comparison.contender(final.winner)).save(folder.tuned)
        return final

    measure = partial(yardsticks, prepared, comparison)
    contenders = [outcome.candidate for outcome in first]
    final, measured = final_and_yardsticks(comparison, hold, measure, contenders)
    winner, baselines = comparison.contender(final.winner), beside(comparison, final.winner, measured.trained)
    offered = _offered(prepared, baselines, winner, config, folder)
    return SearchResult(
        winner=winner,
        default_lora=baselines["default_lora"].contender,
        raced_lora=baselines["raced_lora"].contender,
        difference={name: gap for name, other in baselines.items() if (gap := other.difference) is not None},
        references=measured.references,
        trials=counts,
        seconds=study.seconds,
        comparison_seconds=time.monotonic() - started,
        overhead_seconds=_overhead(study, outcomes),
        output=str(folder.path),
        notes=(
            *prepared.notes,
            *unmeasured(found),
            *_outdone(winner.test, measured.references, objective),
            *(b.note for b in baselines.values() if b.note),
            *offered,
            *measured.notes,
        ),
        winner_trial=final.chosen.number,
        finalists=final.finalists,
        objectives=prepared.objectives,
        pareto=found.points(objective.signed(1.0)),
        knee=explained(final.chosen, found, objective.name, objective.signed(1.0)) if found.trials else None,
    )


def _first_and_reserve(
    found: Front, ranked: Sequence[TrialOutcome], seconds: float, at_once: int
) -> tuple[Sequence[TrialOutcome], Sequence[TrialOutcome]]:
    """Returns who is trained anew at the end, and who comes next should all of them diverge."""
    if found.preferred:
        # Fresh scores say nothing on costs, so a front has no final: its knee is trained anew, and stands.
        return found.preferred[:1], found.preferred[1:]
    first = finalists(ranked, seconds, at_once)
    return first, ranked[len(first) :]


def _offered(
    prepared: Prepared,
    baselines: Mapping[str, Baseline],
    winner: Contender,
    config: Callable[[Contender], TunedConfig],
    folder: OutputFolder,
) -> tuple[str, ...]:
    """Writes the baseline that is better on validation than the winner as a config, and returns a note on it.

    Of several objectives the winner is no more than a knee, which any baseline may beat in one of them.
    """
    for name in baselines:
        folder.baseline(name).unlink(missing_ok=True)  # of a final that was cut short
    better = ahead_on_validation(baselines, winner.validation, prepared.objective)
    if better is None or prepared.objectives != ("quality",):
        return ()
    name, other = better
    path = folder.baseline(name)
    config(other).save(path)
    note = (
        f"{name.replace('_', ' ')} scores {other.validation.value:.4f} on validation, better than the winner's "
        f"{winner.validation.value:.4f}: {path.name} beside tuned.yaml trains it in full."
    )
    return (note,)


def _overhead(study: TrialStudy, outcomes: Sequence[TrialOutcome]) -> float:
    """Returns the seconds of a search in which a worker, in the mean over all of them, neither trained nor scored."""
    busy, there = sum(o.seconds - o.overhead_seconds for o in outcomes), study.worker_seconds
    return study.seconds * (there - busy) / there if there else 0.0


def _outdone(winner: Score, references: Mapping[str, Score], objective: Objective) -> Iterator[str]:
    """Yields a note on whatever needs no fine-tuning and yet scores better than the winner."""
    for name, other in references.items():
        if objective.signed(other.value) > objective.signed(winner.value):
            yield (
                f"{name.replace('_', ' ')} scores {other.value:.4f} without fine-tuning, better than the winner after "
                "a trial's tokens: a full training has to show that it is worth it."
            )


def _most_seconds(study: TrialStudy, prepared: Prepared, settings: Settings) -> float:
    """Returns the seconds that a contender may take: those of the search where it took longest."""
    full = trial_seconds(settings.size, prepared.parts, settings.tokens_per_second)
    return max(study.longest_seconds, LEAST_TRIALS * full)


def _nothing_completed(outcomes: Sequence[TrialOutcome], folder: OutputFolder) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in counted(outcomes).items())
    reasons = sorted({o.reason for o in outcomes if o.reason})[:3]
    return "\n".join([f"No trial was completed ({counts}).", *reasons, f"{_advice(outcomes)}; see {folder.trials}."])


def _advice(outcomes: Sequence[TrialOutcome]) -> str:
    if all(outcome.status in ("infeasible", "out_of_memory") for outcome in outcomes):
        return "Free memory, raise --memory or --max-trainable, or take a smaller model or shorter rows"
    if all(outcome.status == "diverged" for outcome in outcomes):
        return "Lower the learning rates in files of your own, with --search-spaces"
    if all(outcome.too_slow for outcome in outcomes):
        return "The machine is slower than when its speed was measured: search anew, with another --output"
    return "Give it more --time and --resume"
