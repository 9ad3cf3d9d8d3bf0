"""Trials as tasks of a Ray cluster: this process decides, tasks train from one reading to the next.

A task returns at every reading with the state that the next one goes on from, so that whoever is asked next may be any
node. The study, the states and the comparison stay with this process.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from autopeft.environment import as_told, permissions
from autopeft.errors import StudyError, invalid
from autopeft.files import write_bytes
from autopeft.tuning.crew import Crew
from autopeft.tuning.folder import OutputFolder
from autopeft.tuning.hired import Job, made
from autopeft.tuning.member import alone
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.runner import Runner, carrying
from autopeft.tuning.spread import Spread
from autopeft.tuning.study import TrialStudy
from autopeft.tuning.trials import Desk, attempt, plan_of, told_apart
from autopeft.tuning.workers import LOOK_SECONDS
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Measurement, TrialOutcome
from autopeft.values.profiles import HardwareProfile

if TYPE_CHECKING:
    from optuna.trial import Trial

MOST_LOST_TASKS = 8
"""Tasks in a row whose nodes or processes die before the search gives up."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """What a task trains: a candidate from one reading to the next.

    Attributes:
        before: what this or an earlier trial had come to; None from the start.
        state: what it goes on from; None where none was kept.
        seconds: until the search's end.
    """

    number: int
    candidate: Candidate
    before: TrialOutcome | None
    state: bytes | None
    seconds: float


@contextmanager
def connected(spread: Spread, hardware: HardwareProfile) -> Iterator[Crew]:
    """Connects to the cluster, and gives what it can train at once: a task for each GPU, or so many on processors.

    Raises:
        StudyError: Ray is not installed, or there is no cluster at the address.
        InvalidValueError: more tasks than GPUs, or GPUs in the cluster and none on this machine, which compares.
    """
    try:
        import ray
    except ImportError as error:
        raise StudyError("A search on a Ray cluster needs ray: pip install 'autopeft[ray]'.") from error
    try:
        # A metric or a method of the user's own is imported by the cluster's processes too.
        own = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path), **permissions()}}
        ray.init(address=spread.ray or None, log_to_driver=False, include_dashboard=False, runtime_env=own)
    except ConnectionError as error:
        raise StudyError(f"There is no Ray cluster at {spread.ray}: {error}") from error
    try:
        yield _crew(ray.cluster_resources(), spread, hardware)
    finally:
        ray.shutdown()


def _crew(resources: dict[str, float], spread: Spread, hardware: HardwareProfile) -> Crew:
    if spread.gpus:
        raise invalid("--gpus", "a search on a Ray cluster", "left out, since Ray shares them out", spread.gpus)
    gpus, processors = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    here = hardware.device.kind in ("cuda", "rocm")
    if bool(gpus) != here:
        raise invalid(
            "--ray", "a search", "given on a machine like the cluster's, with a GPU where those have one", spread.ray,
            "This machine prepares and compares: start the search on one of the cluster's nodes.",
        )  # fmt: skip
    size = spread.workers or gpus or 1
    if gpus and size > gpus:
        raise invalid("--workers", "a search", f"at most {gpus}, one task for each GPU of the cluster", size)
    # Ray names the GPU of each task; the task sees it as its first.
    return Crew(size=size, gpus=("0",) * size if gpus else (), threads=max(1, processors // size))


def work_on_cluster(
    prepared: Prepared, job: Job, crew: Crew, study: TrialStudy, folder: OutputFolder, look: Callable[[], None]
) -> None:  # fmt: skip
    """Runs trials as tasks until no trial is left.

    Args:
        prepared: the search, as one of the tasks sees it.
        job: what is worked on.
        crew: how many tasks at once, and with what each.
        study: opened by this process, which alone changes it.
        folder: keeps the states of stopped trials.
        look: called after every task, and twice a second.

    Raises:
        Exception: whatever a task met, with the task's traceback.
    """
    import ray
    from ray import exceptions

    gone = (
        exceptions.WorkerCrashedError, exceptions.OutOfMemoryError, exceptions.ObjectLostError,
        exceptions.NodeDiedError, exceptions.LocalRayletDiedError,
    )  # fmt: skip
    search = uuid4().hex, ray.put(prepared), ray.put(job)
    devices = {"num_gpus": 1} if crew.gpus else {"num_cpus": crew.threads}
    task = ray.remote(train_rung).options(max_retries=0, **devices)
    desk = Desk(study, job.limits, job.deadline, job.settings.size.tokens)
    open_: dict[Any, _Open] = {}
    lost = 0
    while True:
        while len(open_) < crew.size and (turn := desk.next()) is not None:
            trial, candidate, earlier = turn
            begun = _Open(trial=trial, earlier=earlier, before=earlier, candidate=candidate)
            open_[task.remote(*search, _rung(begun, folder, job))] = begun
        if not open_:
            return
        for reference in ray.wait(list(open_), timeout=LOOK_SECONDS)[0]:
            at = open_.pop(reference)
            try:
                outcome, state = ray.get(reference)
            except gone as error:
                lost += 1
                if lost > MOST_LOST_TASKS:
                    raise StudyError(f"The cluster's workers end before they have trained: {error}") from error
                study.give_up(at.trial, f"its Ray worker was lost: {type(error).__name__}")
                continue
            lost = 0
            after = replace(at, before=outcome, candidate=outcome.candidate)
            _keep_state(folder, at.trial.number, state)
            if _goes_on(desk, at, outcome):
                open_[task.remote(*search, _rung(after, folder, job))] = after
            else:
                continues = at.earlier.number if at.earlier else None
                desk.done(at.trial, replace(outcome, continues=continues), folder.keep_states)
        look()


@dataclass(frozen=True, kw_only=True)
class _Open:
    """A trial between two tasks.

    Attributes:
        earlier: the trial that it continues.
        before: what the next task goes on from: that trial, or this one's last reading.
    """

    trial: "Trial"
    candidate: Candidate
    earlier: TrialOutcome | None
    before: TrialOutcome | None


def _goes_on(desk: Desk, at: _Open, outcome: TrialOutcome) -> bool:
    """Returns whether a trial that was just read is good enough to be trained on at once."""
    if outcome.status != "pruned":
        return False
    before = replace(outcome, curve=outcome.curve[:-1], number=at.earlier.number if at.earlier else -1)
    return not desk.stops(at.trial, outcome.candidate, before)(outcome.curve[-1])


def _rung(at: _Open, folder: OutputFolder, job: Job) -> Rung:
    path = folder.states / f"{at.before.number}.safetensors" if at.before else None
    return Rung(
        number=at.trial.number, candidate=at.candidate, before=at.before,
        state=path.read_bytes() if path and path.exists() else None, seconds=job.deadline - time.monotonic(),
    )  # fmt: skip


def _keep_state(folder: OutputFolder, number: int, state: bytes | None) -> None:
    if state is not None:
        write_bytes(folder.states / f"{number}.safetensors", state)


_HELD: dict[str, tuple[Runner, float, Path]] = {}
"""What this process of the cluster has loaded, by search: Ray gives the same process one task after the other."""


def train_rung(key: str, prepared: Prepared, job: Job, rung: Rung) -> tuple[TrialOutcome, bytes | None]:
    """Returns what came of a rung, and the state to go on from: runs in a process of the cluster.

    Args:
        key: names this run of the search, for what its processes hold.
        prepared: the search, as a task sees it.
        job: what is worked on.
        rung: what to train.
    """
    with as_told(trusted=job.trusted):
        return _rung_trained(key, prepared, job, rung)


def _rung_trained(key: str, prepared: Prepared, job: Job, rung: Rung) -> tuple[TrialOutcome, bytes | None]:
    if key not in _HELD:
        _HELD.clear()
        folder = Path(tempfile.mkdtemp(prefix="autopeft-"))
        runner, speed = made(alone(prepared), replace(job, states=folder))
        _HELD[key] = runner, min(speed, job.settings.tokens_per_second), folder
    runner, speed, states = _HELD[key]
    settings = replace(job.settings, tokens_per_second=speed)
    # Ray ends its processes without a word, so nothing lies on the node between two tasks.
    states.mkdir(mode=0o700, exist_ok=True)
    try:
        if rung.before is not None and rung.state is not None:
            (states / f"{rung.before.number}.safetensors").write_bytes(rung.state)
        outcome = _trained(runner, prepared, replace(job, settings=settings), rung)
        path = states / f"{rung.number}.safetensors"
        return outcome, path.read_bytes() if outcome.status == "pruned" and path.exists() else None
    finally:
        shutil.rmtree(states)


def _trained(runner: Runner, prepared: Prepared, job: Job, rung: Rung) -> TrialOutcome:
    plan, deadline = plan_of(job.settings, prepared), time.monotonic() + rung.seconds

    def train(candidate: Candidate, before: TrialOutcome | None) -> TrialOutcome:
        outcome = runner.run(rung.number, candidate, plan, _always, deadline, before)
        return told_apart(outcome, plan, deadline, before)

    outcome = attempt(rung.number, rung.candidate, rung.before, prepared, train)
    own = rung.before is not None and rung.before.number == rung.number
    if not own or outcome.status != "timed_out" or outcome.too_slow:
        return outcome
    # The runner counts what a trial goes on from by itself; here it is the same trial.
    return carrying(outcome, rung.before)


def _always(_reading: Measurement) -> bool:
    return True
