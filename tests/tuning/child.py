"""A search without torch in a process of its own, for tests that kill it: see `test_survival.py`."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from autopeft.tuning.folder import OutputFolder
from autopeft.tuning.halving import READINGS
from autopeft.tuning.limits import Limits
from autopeft.tuning.observer import Silent
from autopeft.tuning.proposal import proposal
from autopeft.tuning.search import Trials
from autopeft.tuning.study import TrialStudy
from autopeft.values.candidates import Candidate
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


def prepared(obstacles: Any = lambda _candidate: []) -> Any:
    return SimpleNamespace(obstacles=obstacles, seed=0, parts=(None,))


def search(folder: Path, trials: int, runner: Any = None) -> TrialStudy:
    """Runs or resumes a search of so many trials."""
    settings: Any = SimpleNamespace(size=SimpleNamespace(tokens=900), tokens_per_second=1000.0)
    with OutputFolder(folder).locked():
        study = open_study(folder)
        study.recover()
        loop = Trials(study, runner or SimulatedRunner(), prepared(), settings, Silent())
        loop.run(Limits(trials=trials, seconds=None), time.monotonic())
    return study


def snapshot(study: TrialStudy) -> list[list[Any]]:
    return [[o.number, o.status, o.score, o.candidate.learning_rate] for o in study.outcomes()]


if __name__ == "__main__":
    where, wanted = Path(sys.argv[1]), int(sys.argv[2])
    if (where / "study.db").exists():
        print(json.dumps(snapshot(open_study(where))), flush=True)
    else:
        print("[]", flush=True)
    print(json.dumps(snapshot(search(where, wanted))), flush=True)
