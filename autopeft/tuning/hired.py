"""What a process that runs trials for a search does: one that `autopeft.tuning.hands` has started, or a cluster's."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from autopeft.environment import as_told, remote_code_trusted
from autopeft.tuning.folder import Settings, storage_errors
from autopeft.tuning.kept import NAME
from autopeft.tuning.limits import Limits
from autopeft.tuning.member import Here
from autopeft.tuning.observer import Silent
from autopeft.tuning.proposal import Proposal
from autopeft.tuning.runner import Runner
from autopeft.tuning.storage import Beats, open_storage
from autopeft.tuning.study import TrialStudy
from autopeft.tuning.trainer import OwnTrainer
from autopeft.tuning.trials import Trials


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to run trials of a search, besides the search.

    Attributes:
        where: the study's file, or the URL of its database.
        deadline: on ``time.monotonic``'s clock, which all processes of a machine share.
        states: the folder for the state of stopped trials.
        maker: makes what trains, ready to start, and says its tokens per second; None for torch.
        trusted: whether code that the model brings along may run, as where the job was made.
    """

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


def made(here: Here, job: Job) -> tuple[Runner, float]:
    """Returns what trains, its base loaded, and its speed beside the other workers.

    Raises:
        DeviceError: torch cannot use the GPU of this process.
    """
    if job.maker is not None:
        return job.maker(job)
    # What loading takes is no trial's time, and processes that share a processor are slower than one alone.
    speed = here.own_speed
    return OwnTrainer(here.prepared, here.worker).runner(job.settings.size, job.states), speed


def work(here: Here, job: Job, guard: Callable[[], None]) -> None:
    """Runs trials until none is left for this process.

    Args:
        here: with the search as it was settled.
        job: what to work on.
        guard: called whenever the study is taken for a change.
    """
    prepared = here.prepared
    with storage_errors(job.states.parent), as_told(trusted=job.trusted):
        storage = open_storage(job.where, job.beats)
        study = TrialStudy(
            storage, prepared.proposal, seed=prepared.seed, name=job.name, place=job.place, guard=guard
        )  # fmt: skip
        runner, speed = made(here, job)
        settings = replace(job.settings, tokens_per_second=min(speed, job.settings.tokens_per_second))
        trials = Trials(study, runner, prepared, settings, Silent())
        trials.work(job.limits, job.deadline, lambda _outcome: None)
        study.close()


def serve(here: Here, job: Job, proposal: Proposal) -> None:
    """Runs trials as `work` does, in a process that was started before the search was settled.

    Args:
        here: of this process, which keeps its base for whatever it is asked next.
        job: what to work on.
        proposal: the spaces as they were settled.
    """

    def guard() -> None:
        # A search that goes on after its owner was killed would be in the way of the one that resumes it.
        if os.getppid() != here.owner:
            os._exit(1)

    here.prepared = here.prepared.settled(job.settings.starts, proposal, job.settings.size.tokens)
    work(here, job, guard)


def own_speed(here: Here) -> float:
    """Returns training tokens per second of the first candidate, measured while other processes measure theirs."""
    return here.own_speed
