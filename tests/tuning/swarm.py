"""Forked workers on one study, killed at random moments, without torch: see `test_together.py`.

python -m tests.tuning.swarm FOLDER TRIALS WORKERS KILLS SEED
"""

import json
import os
import random
import signal
import sqlite3
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from autopeft.tuning.hired import work
from autopeft.tuning.member import alone
from autopeft.tuning.runner import TorchRunner
from autopeft.tuning.study import TrialStudy
from tests.tuning.child import SimulatedRunner, job, open_study, prepared


@event.listens_for(Engine, "connect")
def fast(connection: Any, _record: Any) -> None:
    """A killed process loses nothing that it has written, synced or not: only a power cut would."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


class StatefulRunner(SimulatedRunner):
    """Leaves a file for each stopped trial, as the real one does, and notes when the one to go on from is gone."""

    def __init__(self, states: Path) -> None:
        super().__init__(pause=0.002)
        self.states = states
        states.mkdir(exist_ok=True)

    def run(self, number, candidate, plan, stops, deadline, earlier):
        if earlier is not None and not (self.states / f"{earlier.number}.safetensors").exists():
            (self.states.parent / f"missed-{earlier.number}").touch()
        outcome = super().run(number, candidate, plan, stops, deadline, earlier)
        if outcome.status == "pruned":
            (self.states / f"{number}.safetensors").touch()
        return outcome

    def keep(self, numbers) -> None:
        TorchRunner(None, (), None, None, self.states).keep(numbers)  # type: ignore[arg-type]


def stateful(given) -> tuple[StatefulRunner, float]:
    return StatefulRunner(given.states), 1000.0


def start(folder: Path, trials: int, maker: Any = stateful, **elsewhere: Any) -> int:
    """Returns the process of a worker, which has ended with 0 when no trial was left."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        work(alone(prepared()), job(folder, trials, maker, **elsewhere), lambda: None)
        code = 0
    finally:
        if code:
            traceback.print_exc()
        os._exit(code)


def stored(study: TrialStudy) -> dict[int, Any]:
    """The outcome of every trial that has one, continued ones included."""
    return {t.number: t.user_attrs["outcome"] for t in study._study.get_trials() if "outcome" in t.user_attrs}


def swarm(folder: Path, trials: int, workers: int, kills: int, seed: int) -> dict[str, Any]:
    """Returns what a search left after so many kills, of one worker or of all at once."""
    generator = random.Random(seed)
    study = open_study(folder)
    study.recover()
    crew = {start(folder, trials) for _ in range(workers)}
    known: dict[int, Any] = {}
    done = 0
    while crew:
        if done < kills:
            time.sleep(generator.expovariate(1 / 0.06))
            victims = set(crew) if generator.random() < 0.1 else {generator.choice(sorted(crew))}
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
        else:
            process, status = os.wait()
            assert status == 0, "a worker that nobody killed has failed"
            victims = {process}
        for victim in victims:
            if done < kills:
                _, status = os.waitpid(victim, 0)
                done += os.WIFSIGNALED(status)
            crew.discard(victim)
        if victims and not crew and len(victims) > 1:
            study = open_study(folder)  # all are gone, as when the whole search was killed: it is resumed
            study.recover()
        else:
            for victim in victims:
                study.lose(victim, "killed")
        after = stored(study)
        assert all(after[number] == outcome for number, outcome in known.items()), "a finished trial has changed"
        known = after
        if done < kills:
            crew |= {start(folder, trials) for _ in range(workers - len(crew))}
    study.recover()
    return {"kills": done, "ended": [o.status for o in study.outcomes()], "trials": told(study, folder)}


def told(study: TrialStudy, folder: Path) -> list[dict[str, Any]]:
    """Every trial of a study, as far as the tests look at it."""
    return [
        {
            "number": trial.number,
            "state": trial.state.name,
            "status": trial.user_attrs.get("outcome", {}).get("status"),
            "rate": trial.user_attrs.get("outcome", {}).get("candidate", {}).get("learning_rate"),
            "continues": trial.user_attrs.get("continues"),
            "retry": trial.user_attrs.get("retry"),
            "missed": (folder / f"missed-{trial.number}").exists(),
        }
        for trial in study._study.get_trials()
    ]


if __name__ == "__main__":
    where, counts = Path(sys.argv[1]), [int(text) for text in sys.argv[2:6]]
    print(json.dumps(swarm(where, *counts)))
