"""Ways to choose a configuration in so many seconds of real training, all through the same runner."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from autopeft.data import EncodedData
from autopeft.training.worker import Worker
from autopeft.tuning.budget import scored_rows, trial_seconds
from autopeft.tuning.compare import RACED_RATES, Comparison, default_recipe
from autopeft.tuning.contest import OwnContest
from autopeft.tuning.cost import measured_speed, settle
from autopeft.tuning.finalists import MOST_FINALISTS, best_of, finalists, rehearse
from autopeft.tuning.folder import OutputFolder, Settings
from autopeft.tuning.limits import Limits
from autopeft.tuning.observer import Silent
from autopeft.tuning.prepare import Prepared, Request, prepare
from autopeft.tuning.race import Fallen, Performance
from autopeft.tuning.ranking import best_trial, ranking
from autopeft.tuning.runner import TorchRunner
from autopeft.tuning.starts import begun
from autopeft.tuning.study import TrialStudy
from autopeft.tuning.trials import Trials
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Measurement, TrialOutcome
from autopeft.values.plans import Plan
from benchmarks.collect import fewer

HYPERBAND_STEPS = (1, 3, 9)
"""Ninths of a trial at which Optuna's Hyperband looks at it: its brackets begin at the first, the second and the last.
Whatever is read between them it pays for, and decides nothing."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a way to search came to.

    Attributes:
        trials: begun.
        completed: of them, trained to the end; with none the default recipe is taken, as a user would.
        seconds: spent on choosing.
    """

    candidate: Candidate
    trials: int
    completed: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One task with one seed and one budget, ready for every contender."""

    prepared: Prepared
    worker: Worker
    settings: Settings
    folder: Path
    seconds: float

    @property
    def runner(self) -> TorchRunner:
        """A runner of trials, each time with a folder of states of its own."""
        states = self.folder / "states" / str(time.monotonic_ns())
        return TorchRunner(self.worker, self.prepared.parts, self.prepared.objective, self.settings.size, states)

    @property
    def default(self) -> Candidate:
        """The default recipe on this machine."""
        return default_recipe(self.prepared.starts[0])

    @property
    def last_seed(self) -> int:
        """The seed of the final training, which no trial has used; nor has any those above it."""
        return self.prepared.seed + len(self.prepared.parts)

    def comparison(self) -> Comparison:
        """Returns the final training: the same tokens for all, with a seed of its own."""
        return self.trained(self.last_seed, "trained", float("inf"), self.prepared.encoded)

    def trained(
        self, seed: int, folder: str, seconds: float, data: EncodedData, contest: type[OwnContest] = OwnContest
    ) -> Comparison:
        """Returns a comparison of what trains with a seed, each for so many seconds at most, kept in a folder."""
        objective, size = self.prepared.objective, self.settings.size
        plan = Plan(tokens=size.tokens, seed=seed)
        made = contest(self.worker, data, plan, objective, seconds=seconds, racing_rows=size.pruning_rows)
        return Comparison(made, objective, seed, self.folder / folder)


def bench(request: Request, folder: Path, kept: Path, seconds: float) -> Bench:
    """Returns a bench; its trials' size is measured once and kept, so that a resumed benchmark has the same.

    Args:
        request: the task.
        folder: for what is trained.
        kept: the folder of the settings, which stay with the results.
        seconds: of each contender.
    """
    prepared = prepare(request)
    labels = prepared.data.spec.labels
    worker = Worker(prepared.model, prepared.hardware, head_seed=prepared.seed, label_names=labels)
    files = OutputFolder(kept)
    settings = files.settings()
    if settings is None:
        settings = settle(prepared, measured_speed(prepared, worker), request, Limits(seconds=seconds))
        files.begin(settings)
    worker.base(prepared.starts[0])  # loaded before any clock starts: no contender pays for it
    prepared = begun(prepared, settings, request.spaces)
    return Bench(prepared=prepared, worker=worker, settings=settings, folder=folder, seconds=seconds)


def autopeft(given: Bench) -> Chosen:
    """Returns what this project's search chooses, with its final: the last part of the time is for that."""
    began = time.monotonic()
    path = given.folder / "autopeft.db"
    path.unlink(missing_ok=True)  # a search that was cut short is not comparable and begins anew
    size = given.settings.size
    proposal = given.prepared.guided(size.tokens).proposal
    study = TrialStudy(path, proposal, seed=given.prepared.seed)
    study.enqueue(given.prepared.starts)
    trials = Trials(study, given.runner, given.prepared, given.settings, Silent())
    one = trial_seconds(size, given.prepared.parts, given.settings.tokens_per_second)
    final_seconds = MOST_FINALISTS * one
    trials.run(Limits(seconds=max(given.seconds - final_seconds, given.seconds / 2)), began)
    outcomes = study.outcomes()
    return _chosen(_final(given, outcomes, began), outcomes, began)


def _final(given: Bench, outcomes: Sequence[TrialOutcome], began: float) -> Candidate:
    """Returns whoever is best when the best few are trained anew, each with a seed that no trial has used."""
    ranked = ranking(outcomes)
    if not ranked:
        return given.default
    shutil.rmtree(given.folder / "final", ignore_errors=True)
    seed, left = given.last_seed + 1, began + given.seconds - time.monotonic()
    first = finalists(ranked, given.seconds)
    comparison = given.trained(seed, "final", left / len(first), given.prepared.encoded)
    rehearsed = rehearse(comparison, first, ranked[len(first) :], seed)
    trial_rows = scored_rows(given.settings.size, given.prepared.parts)
    return best_of(rehearsed, given.prepared.objective, trial_rows)[0].candidate


def random_search(given: Bench) -> Chosen:
    """Returns the best of configurations drawn by chance, each trained to the end."""
    import optuna

    return _sampled(given, optuna.samplers.RandomSampler(seed=given.prepared.seed), optuna.pruners.NopPruner(), (1,))


def optuna_hyperband(given: Bench) -> Chosen:
    """Returns what Optuna's TPE and Hyperband choose as they come, over the same space."""
    return _hyperband(given, ())


def optuna_hyperband_advised(given: Bench) -> Chosen:
    """Returns what they choose when they begin with the configurations that this project's search begins with."""
    return _hyperband(given, given.prepared.starts)


def _hyperband(given: Bench, starts: Sequence[Candidate]) -> Chosen:
    import optuna

    last = HYPERBAND_STEPS[-1]
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=last, reduction_factor=3)
    return _sampled(given, optuna.samplers.TPESampler(seed=given.prepared.seed), pruner, HYPERBAND_STEPS, starts)


def default(given: Bench) -> Chosen:
    """Returns the default recipe, chosen in no time."""
    return Chosen(candidate=given.default, trials=0, completed=0, seconds=0.0)


class Heats(OwnContest):
    """Races without their last lap: who wins them is known before it, and the time is for other races."""

    def home(self, candidate: Candidate, state: Any, seconds: float) -> Performance | Fallen:
        """Returns the performance of who has won, as it stands."""
        return super().home(candidate, state, min(0.0, seconds))


def raced(given: Bench) -> Chosen:
    """Returns the default recipe at that of four learning rates which wins most races in the time.

    Each race is of trainings as long as the final's, with a seed of its own that no trial or final has.
    """
    began = time.monotonic()
    deadline = began + given.seconds
    shutil.rmtree(given.folder / "race", ignore_errors=True)  # races that were cut short begin anew
    size, wins, encoded = given.settings.size, Counter[float](), given.prepared.encoded
    # Who wins is decided before the last lap: scoring the winner on whole splits would take the time of other races.
    few = {"validation": fewer(encoded["validation"], size.pruning_rows), "test": fewer(encoded["test"], 1)}
    data = replace(encoded, splits={**encoded.splits, **few})
    for seed in count(given.last_seed + 1):
        race = given.trained(seed, f"race/{seed}", deadline - time.monotonic(), data, Heats)
        won = race.raced("race", given.default).candidate.learning_rate
        late = time.monotonic() >= deadline
        if not late or not wins:  # a race without time for its laps says nothing
            wins[won] += 1
        if late:
            break
    rate = wins.most_common(1)[0][0]
    return Chosen(
        candidate=replace(given.default, learning_rate=rate),
        trials=len(RACED_RATES) * wins.total(),
        completed=wins.total(),
        seconds=time.monotonic() - began,
    )


CONTENDERS: dict[str, Callable[[Bench], Chosen]] = {
    "autopeft": autopeft,
    "default LoRA": default,
    "raced LoRA": raced,
    "Optuna TPE + Hyperband": optuna_hyperband,
    "Optuna, same starts": optuna_hyperband_advised,
    "random search": random_search,
}


def _sampled(given: Bench, sampler: Any, pruner: Any, steps: Sequence[int], starts: Sequence[Candidate] = ()) -> Chosen:
    """Runs trials that a sampler draws and a pruner stops until the time is up; a stopped one never goes on."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    began, outcomes = time.monotonic(), []
    deadline, runner = began + given.seconds, given.runner
    # Hyperband puts trials into brackets by the study's name, so the name fixes them.
    study = optuna.create_study(sampler=sampler, pruner=pruner, study_name=f"seed {given.prepared.seed}")
    for start in starts:
        study.enqueue_trial(given.prepared.proposal.fixed(start))
    readings = tuple(step / steps[-1] for step in steps)
    plan = Plan(tokens=given.settings.size.tokens, seed=given.prepared.seed, readings=readings)
    while time.monotonic() < deadline:
        trial = study.ask()
        outcome = _trained(given, runner, trial, plan, steps, deadline)
        outcomes.append(outcome)
        runner.keep(())
        if outcome.status == "completed":
            study.tell(trial, outcome.curve[-1].validation_loss)
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    best = best_trial(outcomes)
    return _chosen(best.candidate if best else given.default, outcomes, began)


def _trained(
    given: Bench, runner: TorchRunner, trial: Any, plan: Plan, steps: Sequence[int], deadline: float
) -> TrialOutcome:
    candidate = given.prepared.proposal.draw(trial)
    problems = given.prepared.obstacles(candidate)
    if problems:
        return TrialOutcome(number=trial.number, status="infeasible", candidate=candidate, reason=" ".join(problems))
    coming = iter(steps)

    def stops(reading: Measurement) -> bool:
        trial.report(reading.validation_loss, next(coming))
        return bool(trial.should_prune())

    return runner.run(trial.number, candidate, plan, stops, deadline, None)


def _chosen(candidate: Candidate, outcomes: Sequence[TrialOutcome], began: float) -> Chosen:
    return Chosen(
        candidate=candidate,
        trials=len(outcomes),
        completed=sum(outcome.status == "completed" for outcome in outcomes),
        seconds=time.monotonic() - began,
    )
