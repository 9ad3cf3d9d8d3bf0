"""A worker's process: takes a job from its standard input, runs trials of the study until none is left.

It ends when the process that started it does: that one's end of the standard input then closes.
"""

import json
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from autopeft.environment import as_told, remote_code_trusted
from autopeft.profiling.usable import check_usable
from autopeft.tuning.fates import DONE
from autopeft.tuning.folder import Settings, storage_errors
from autopeft.tuning.kept import NAME
from autopeft.tuning.limits import Limits
from autopeft.tuning.observer import Silent
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.runner import Runner
from autopeft.tuning.storage import Beats, open_storage
from autopeft.tuning.study import TrialStudy
from autopeft.tuning.trainer import OwnTrainer
from autopeft.tuning.trials import Trials


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to run trials of a search.

    Attributes:
        where: the study's file, or the URL of its database.
        deadline: on ``time.monotonic``'s clock, which all processes of a machine share.
        states: the folder for the state of stopped trials.
        maker: makes what trains, ready to start, and says its tokens per second; None for torch.
        trusted: whether code that the model brings along may run, as where the job was made.
    """

    prepared: Prepared
    settings: Settings
    where: Path | str
    limits: Limits
    deadline: float
    states: Path
    beats: Beats | None = None
    name: str = NAME
    place: str = ""
    maker: "Callable[[Job], tuple[Runner, float]] | None" = None
    trusted: bool = field(default_factory=remote_code_trusted)


def torch_runner(job: Job) -> tuple[Runner, float]:
    """Returns the runner that trains, its base loaded, and its speed beside the other workers.

    Raises:
        DeviceError: torch cannot use the GPU of this process.
    """
    check_usable(job.prepared.hardware.device)
    trainer = OwnTrainer(job.prepared)
    # What loading takes is no trial's time, and processes that share a processor are slower than one alone.
    speed = trainer.speed()
    return trainer.runner(job.settings.size, job.states), speed


def work(job: Job, guard: Callable[[], None]) -> None:
    """Runs trials until none is left for this process.

    Args:
        job: what to work on.
        guard: called whenever the study is taken for a change.
    """
    with storage_errors(job.states.parent), as_told(trusted=job.trusted):
        storage = open_storage(job.where, job.beats)
        study = TrialStudy(
            storage, job.prepared.proposal, seed=job.prepared.seed, name=job.name, place=job.place, guard=guard
        )
        runner, speed = (job.maker or torch_runner)(job)
        settings = replace(job.settings, tokens_per_second=min(speed, job.settings.tokens_per_second))
        trials = Trials(study, runner, job.prepared, settings, Silent())
        trials.work(job.limits, job.deadline, lambda _outcome: None)
        study.close()


def main() -> None:
    """Works, and says at the end how it went: one line of JSON to whoever started this process."""
    # Whatever libraries print goes where errors go; the pipe is for the one line.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    parent = os.getppid()

    def guard() -> None:
        # A search that goes on after its parent was killed would be in the way of the one that resumes it.
        if os.getppid() != parent:
            os._exit(1)

    fate = {"fate": DONE}
    try:
        job = pickle.load(sys.stdin.buffer)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        work(job, guard)
    except BaseException as error:
        fate = {"fate": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
        raise
    finally:
        channel.write(json.dumps(fate) + "\n")
        channel.close()


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)
