"""A search without torch in a process of its own, for tests that kill it: see `test_survival.py`."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from autopeft.tuning.budget import TrialSize
from autopeft.tuning.crew import Crew
from autopeft.tuning.folder import OutputFolder, Settings
from autopeft.tuning.halving import READINGS
from autopeft.tuning.hands import Hands
from autopeft.tuning.hired import Job
from autopeft.tuning.limits import Limits
from autopeft.tuning.observer import Silent
from autopeft.tuning.proposal import proposal
from autopeft.tuning.study import TrialStudy
from autopeft.tuning.trials import Trials
from autopeft.tuning.watch import Watch
from autopeft.values.candidates import ONE_DEVICE, Candidate, Team
from autopeft.values.outcomes import Measurement, TrialOutcome

STARTS = (
    Candidate(method="ia3", learning_rate=5e-3, batch_size=16),
    Candidate(method="bitfit", targets="none", learning_rate=1e-3, batch_size=16),
)


class SimulatedRunner:
    """Plays a curve that depends on the candidate alone; each reading takes a few milliseconds."""

    def __init__(self, pause: float = 0.004) -> None:
        self.pause = pause
        self.trained = 0.0
        self.kept: frozenset[int] = frozenset()

    def run(self, number, candidate, plan, stops, deadline, earlier) -> TrialOutcome:
        curve = list(earlier.curve) if earlier else []
        continues = earlier.number if earlier else None
        for share in READINGS[len(curve) :]:
            time.sleep(self.pause)
            self.trained += share - (curve[-1].seconds if curve else 0.0)
            loss = abs(candidate.learning_rate - 3e-3) * 100 + 1 / (1 + 9 * share)
            curve.append(
                Measurement(tokens=int(plan.tokens * share), seconds=share, train_loss=loss, validation_loss=loss)
            )
            if share < 1 and stops(curve[-1]):
                return TrialOutcome(
                    number=number, status="pruned", candidate=candidate, curve=tuple(curve), continues=continues
                )
        return TrialOutcome(
            number=number, status="completed", candidate=candidate, curve=tuple(curve), continues=continues,
            score=-curve[-1].validation_loss,
        )  # fmt: skip

    def keep(self, numbers) -> None:
        self.kept = frozenset(numbers)


def open_study(folder: Path, seed: int = 0) -> TrialStudy:
    study = TrialStudy(folder / "study.db", proposal(STARTS, depth=4), seed=seed)
    study.enqueue(STARTS)
    return study


def nothing(_candidate) -> list[str]:
    return []


@dataclass(frozen=True, kw_only=True)
class Played:
    """What a played search needs of a prepared one."""

    obstacles: Any
    proposal: Any
    parts: tuple[Any, ...]
    seed: int = 0
    team: Team = ONE_DEVICE
    memory_bytes: int = 2**30

    def settled(self, *_settings) -> "Played":
        return self


def prepared(obstacles: Any = nothing) -> Any:
    data = {"validation": SimpleNamespace(lengths=(1,))}
    return Played(obstacles=obstacles, proposal=proposal(STARTS, depth=4), parts=(data,))


SETTINGS = Settings(
    schema_version=1, identity={}, size=TrialSize(tokens=900, pruning_rows=1, scoring_rows=1), tokens_per_second=1000.0
)


def simulated(job: Job) -> tuple[SimulatedRunner, float]:
    return SimulatedRunner(), 1000.0


def job(folder: Path, trials: int, maker: Any = simulated, **elsewhere: Any) -> Job:
    """What several workers do: a search of so many trials, its study in the folder or as `Job` has it elsewhere."""
    limits = Limits(trials=trials, seconds=None)
    where = {"where": folder / "study.db", **elsewhere}
    return Job(
        settings=SETTINGS, limits=limits, deadline=float("inf"), states=folder / "states",
        maker=maker, **where,
    )  # fmt: skip


def search_together(folder: Path, trials: int, workers: int, maker: Any = simulated) -> TrialStudy:
    """Runs or resumes a search of so many trials in several processes."""
    with OutputFolder(folder).locked():
        study = open_study(folder)
        study.recover()
        hands = Hands(Crew(size=workers, gpus=(), threads=1), folder / "workers")
        hands.tell(prepared())
        try:
            hands.work(
                job(folder, trials, maker),
                prepared().proposal,
                study,
                Watch(study, Silent(), lambda: 0.0, workers).look,
            )
        finally:
            hands.release()
    return study


def search(folder: Path, trials: int, runner: Any = None) -> TrialStudy:
    """Runs or resumes a search of so many trials."""
    with OutputFolder(folder).locked():
        study = open_study(folder)
        study.recover()
        loop = Trials(study, runner or SimulatedRunner(), prepared(), SETTINGS, Silent())
        loop.run(Limits(trials=trials, seconds=None), time.monotonic())
    return study


def snapshot(study: TrialStudy) -> list[list[Any]]:
    return [[o.number, o.status, o.score, o.candidate.learning_rate] for o in study.outcomes()]


def main() -> None:
    where, wanted = Path(sys.argv[1]), int(sys.argv[2])
    if (where / "study.db").exists():
        print(json.dumps(snapshot(open_study(where))), flush=True)
    else:
        print("[]", flush=True)
    workers = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    ended = search_together(where, wanted, workers) if workers else search(where, wanted)
    print(json.dumps(snapshot(ended)), flush=True)


if __name__ == "__main__":
    main()
