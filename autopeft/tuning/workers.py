"""Several worker processes on one study: started, watched, replaced when they die, stopped when one meets an error."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from autopeft.errors import StudyError
from autopeft.tuning.crew import Crew
from autopeft.tuning.fates import DONE, cause_of_death, met
from autopeft.tuning.hired import Job
from autopeft.tuning.study import TrialStudy

LOOK_SECONDS = 0.5
"""Between two looks at the study, for the progress that is shown."""

MOST_IDLE_DEATHS = 3
"""Workers that may die outside a trial before the search gives up: a machine on which none can start."""

_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from autopeft.tuning.hired import main; main()"
)


@dataclass(frozen=True, kw_only=True)
class Hand:
    """One worker's process and where it writes what is not for the user."""

    process: "subprocess.Popen[bytes]"
    log: Path


def work_together(job: Job, crew: Crew, study: TrialStudy, look: Callable[[], None]) -> None:
    """Runs trials in several processes until no trial is left; a process that dies is replaced.

    Args:
        job: what each works on.
        crew: how many, and where.
        study: the same study, opened by this process.
        look: called every half second.

    Raises:
        AutopeftError: a worker met it.
        RuntimeError: a worker met a defect; its traceback is the cause.
    """
    logs = job.states.parent / "workers"
    hands = {slot: _hire(job, crew, slot, logs) for slot in range(crew.size)}
    idle_deaths = 0
    try:
        while hands:
            pipes: dict[Any, int] = {hand.process.stdout: slot for slot, hand in hands.items()}
            ended = [pipes[pipe] for pipe in wait(list(pipes), timeout=LOOK_SECONDS)]
            for slot in ended:
                hand = hands.pop(slot)
                if _came_to_its_end(hand):
                    continue
                idle_deaths += not study.lose(hand.process.pid, cause_of_death(hand.process.returncode))
                if idle_deaths > MOST_IDLE_DEATHS:
                    raise StudyError(f"Workers end before they have begun a trial. {hand.log} says more.")
                hands[slot] = _hire(job, crew, slot, logs)
            look()
    finally:
        for hand in hands.values():
            hand.process.kill()
            hand.process.communicate()


def _hire(job: Job, crew: Crew, slot: int, logs: Path) -> Hand:
    logs.mkdir(exist_ok=True)
    log = logs / f"{slot}.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stream,
            env=crew.environment(slot),
            start_new_session=True,  # Ctrl-C is for the process that the user sees: it stops the others
        )  # fmt: skip
    if process.stdin is None:
        raise RuntimeError("A worker's process has no standard input.")
    with suppress(BrokenPipeError):  # one that has died already is seen when it is waited for
        pickle.dump(sys.path, process.stdin)
        pickle.dump(job, process.stdin)
        process.stdin.flush()
    return Hand(process=process, log=log)


def _came_to_its_end(hand: Hand) -> bool:
    """Returns whether a worker that has ended found no trial left; False where it was lost.

    Raises:
        AutopeftError: it met one.
        RuntimeError: it met a defect.
    """
    said = hand.process.stdout.read() if hand.process.stdout else b""
    if hand.process.stdin is not None:
        with suppress(BrokenPipeError):  # a job that a dead one has not read in full is still to be written
            hand.process.stdin.close()
    hand.process.wait()
    if not said.endswith(b"\n"):
        return False
    fate = json.loads(said)
    if fate["fate"] == DONE:
        return True
    raise met(fate["fate"], fate["message"], fate["traceback"])
