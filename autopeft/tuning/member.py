"""One of the processes that train a model together, or one that trains alone: `autopeft.tuning.group` asks it.

All of them run the same functions with the same arguments and agree on every decision; the first one alone asks the
owner, writes files, and has the say. A process ends when its standard input does, and so with its owner.
"""

import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn

from autopeft.environment import as_told, remote_code_trusted
from autopeft.profiling.usable import check_usable
from autopeft.training.parallel import ALONE, Parallel
from autopeft.training.worker import Worker
from autopeft.tuning.budget import TrialSize, measure_speed
from autopeft.tuning.contest import OwnContest
from autopeft.tuning.cost import measured_speed
from autopeft.tuning.gauge import Gauge
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.runner import TorchRunner
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Measurement, TrialOutcome
from autopeft.values.plans import Plan
from autopeft.values.profiles import Device

Function = Callable[..., Any]
"""What is called in each process: takes its `Here` first."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a process is told first.

    Attributes:
        prepared: the search.
        meeting: the file in which all processes meet.
        log: where it writes from here on what is not for the user, None to go on where it does.
        trusted: whether code that the model brings along may run, as in the owner.
        owner: the process that has started it.
    """

    prepared: Prepared
    rank: int
    meeting: Path
    log: Path | None = None
    trusted: bool = field(default_factory=remote_code_trusted)
    owner: int = field(default_factory=os.getpid)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A function to run, with what follows its `Here`."""

    function: Function
    arguments: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the owner says to `Asked`."""

    value: Any


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the first process asks its owner in the middle of a call."""

    value: Any


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a call returned."""

    value: Any


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The error that a call met; the process ends with it."""

    name: str
    message: str
    traceback: str


@dataclass(kw_only=True)
class Here:
    """What a call finds in its process.

    Attributes:
        prepared: the search, as far as it is settled.
        parallel: its place among those that train together.
        ask: asks the owner, in the first process alone.
        owner: the process that has started it.
    """

    prepared: Prepared
    parallel: Parallel
    ask: Callable[[Any], Any]
    owner: int

    @cached_property
    def worker(self) -> Worker:
        """What holds the base model, from one call to the next."""
        return self.prepared.worker(self.parallel)

    @cached_property
    def own_speed(self) -> float:
        """Training tokens per second of the first candidate, as this process measured it when first asked.

        Raises:
            DeviceError: torch cannot use the GPU of this process.
        """
        check_usable(self.prepared.hardware.device)
        return measured_speed(self.prepared, self.worker)

    @property
    def first(self) -> bool:
        """Whether this process has the say."""
        return self.parallel.rank == 0


def alone(prepared: Prepared) -> Here:
    """Returns what a process finds that nobody asks and that trains by itself."""
    return Here(prepared=prepared, parallel=ALONE, ask=lambda _value: None, owner=os.getppid())


def speed(here: Here, candidate: Candidate) -> float:
    """Returns training tokens per second of a candidate, in all processes together."""
    return measure_speed(here.worker, candidate, here.prepared.parts[0]["train"])


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial to run, as `autopeft.tuning.runner.Runner.run` takes it, with its size and the folder of states.

    Attributes:
        asked: when its owner asked for it, on ``time.monotonic``'s clock, which all processes of a machine share.
    """

    number: int
    candidate: Candidate
    plan: Plan
    size: TrialSize
    states: Path
    deadline: float
    asked: float
    earlier: TrialOutcome | None = None


def train(here: Here, trial: Trial) -> TrialOutcome:
    """Returns what came of a trial; the owner is asked at every reading whether it stops there."""
    prepared, worker = here.prepared, here.worker
    # What starting and loading take is no trial's time: a base that is shared out is loaded anew for each.
    worker.base(trial.candidate)
    deadline = trial.deadline + time.monotonic() - trial.asked
    # Estimates are the first one's to make; other measurements are refused where several processes train.
    gauge = Gauge(worker, prepared) if here.first else None
    runner = TorchRunner(worker, prepared.parts, prepared.objective, trial.size, trial.states, gauge)

    def stops(reading: Measurement) -> bool:
        return bool(here.parallel.agreed(here.ask(reading) if here.first else None))

    return runner.run(trial.number, trial.candidate, trial.plan, stops, deadline, trial.earlier)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """On what terms contenders train at the end: see `autopeft.tuning.contest.OwnContest`."""

    plan: Plan
    seconds: float
    racing_rows: int


def contend(here: Here, terms: Terms, step: Callable[..., Any], *arguments: Any) -> Any:
    """Returns what a step of `OwnContest`, taken by all processes, came to in the first one; None elsewhere."""
    found = step(_contest(here, terms), *arguments)
    return found if here.first else None


def _contest(here: Here, terms: Terms) -> OwnContest:
    prepared = here.prepared
    return OwnContest(
        here.worker, prepared.encoded, terms.plan, prepared.objective, seconds=terms.seconds,
        racing_rows=terms.racing_rows,
    )  # fmt: skip


def environments(prepared: Prepared) -> list[Mapping[str, str]]:
    """Returns the environments of a team's processes, by rank."""
    return [_environment(prepared, rank) for rank in range(prepared.team.devices)]


def _environment(prepared: Prepared, rank: int) -> Mapping[str, str]:
    """Returns a process's environment: torch's names for its place, its team's GPUs, its share of the processors."""
    size = prepared.team.devices
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    shared = max(1, prepared.hardware.cpu_count // size)
    named = {key: str(value) for key, value in own.items()}
    return {**os.environ, "OMP_NUM_THREADS": str(shared), **named, **_visible(prepared.hardware.devices)}


def _visible(devices: Sequence[Device]) -> dict[str, str]:
    """Returns what makes the devices of a team CUDA's, numbered by rank."""
    names = [device.uuid for device in devices if device.uuid is not None]
    return {"CUDA_VISIBLE_DEVICES": ",".join(names)} if names else {}


@dataclass(frozen=True, kw_only=True)
class _Line:
    """Both ends of what this process and its owner say to each other."""

    out: Any
    heard: "SimpleQueue[Any]" = field(default_factory=SimpleQueue)

    def say(self, message: Any) -> None:
        pickle.dump(message, self.out)
        self.out.flush()

    def ask(self, value: Any) -> Any:
        self.say(Asked(value=value))
        return self.heard.get().value

    def listen(self) -> None:
        while True:
            try:
                message = pickle.load(sys.stdin.buffer)
            except (EOFError, pickle.UnpicklingError):  # the owner is gone, perhaps in the middle of a word
                os._exit(1)
            except BaseException as error:  # noqa: BLE001 - a function or a value of a module that is not here
                self.fail(error)
            self.heard.put(message)

    def fail(self, error: BaseException) -> NoReturn:
        """Ends the process with an error, for its owner to raise."""
        try:
            traceback.print_exc()
            self.say(Failed(name=type(error).__name__, message=str(error), traceback=traceback.format_exc()))
        finally:
            # The thread that listens holds the standard input, over which the interpreter would stumble on its way out.
            os._exit(1)


def main(ahead: Sequence[str] = ()) -> None:
    """Joins the others and answers calls until the owner is gone.

    Args:
        ahead: modules to load before anything is asked.
    """
    # Whatever libraries print goes where errors go; the pipe is for messages.
    line = _Line(out=os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    # One thread loads them, for two that load parts of one library may wait for each other.
    for module in ahead:
        import_module(module)
    threading.Thread(target=line.listen, daemon=True).start()
    try:
        place = line.heard.get()
        if place.log is not None:
            _write_to(place.log)
        with as_told(trusted=place.trusted):
            here = _joined(place, line)
            while True:
                call = line.heard.get()
                line.say(Done(value=call.function(here, *call.arguments)))
    except BaseException as error:  # noqa: BLE001 - the owner raises it
        line.fail(error)


def _write_to(log: Path) -> None:
    """Has whatever libraries print go to a file."""
    with log.open("ab") as stream:
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)


def _joined(place: Place, line: _Line) -> Here:
    if place.prepared.team.alone:
        return replace(alone(place.prepared), ask=line.ask, owner=place.owner)
    import torch

    size = place.prepared.team.devices
    prepared = place.prepared.on_device(place.rank)
    check_usable(prepared.hardware.device)
    cuda = prepared.hardware.device.kind in ("cuda", "rocm")
    if cuda:
        torch.cuda.set_device(place.rank)
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo", init_method=place.meeting.as_uri(), rank=place.rank, world_size=size
    )
    parallel = Parallel(rank=place.rank, size=size, strategy=prepared.team.strategy)
    return Here(prepared=prepared, parallel=parallel, ask=line.ask, owner=place.owner)
