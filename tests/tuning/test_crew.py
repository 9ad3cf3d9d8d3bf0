"""Which processes a search starts, and where each runs."""

import os
import sys
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from autopeft.cli.options import parse_gpus
from autopeft.environment import permissions, remote_code_trusted, trust_remote_code
from autopeft.errors import DeviceError, InvalidValueError
from autopeft.profiling.hardware import among_freest, probe_hardware
from autopeft.profiling.usable import claim
from autopeft.tuning.cluster import Rung, train_rung
from autopeft.tuning.crew import crew_of, crew_unasked
from autopeft.tuning.hired import made, work
from autopeft.tuning.limits import Limits
from autopeft.tuning.member import Place, alone
from autopeft.tuning.spread import Spread
from autopeft.values.profiles import Device, HardwareProfile
from tests.profiling.fake_nvml import GIB, Card, FakeNvml
from tests.tuning.child import STARTS, SimulatedRunner, job, open_study, prepared


def machine(gpus: int) -> HardwareProfile:
    kind: Any = "cuda" if gpus else "cpu"
    devices = tuple(
        Device(
            index=k,
            name="card",
            kind=kind,
            total_memory_bytes=2**34,
            free_memory_bytes=2**30 * (k + 1),
            uuid=f"GPU-{k}" if gpus else None,
        )
        for k in range(gpus or 1)
    )
    return HardwareProfile(
        source="nvml", devices=devices, selected=gpus // 2, cpu_count=6, ram_bytes=2**35, dtype="float32",
        dtype_reason="a test",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a crew shares out of a prepared search."""

    hardware: HardwareProfile
    memory_bytes: int = 2**30


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@dataclass(frozen=True, kw_only=True)
class Fitting(Search):
    """A search on processors whose only start needs so much memory."""

    needs: int = 1
    starts: tuple[str, ...] = ("lora",)

    def obstacles(self, _candidate: object) -> list[str]:
        return ["It needs more memory."] * (self.needs > self.memory_bytes)


TIMED = Limits(seconds=60.0)


def unasked(cores: int = 8, stops: Limits = TIMED, needs: int = 1, gpus: int = 0) -> tuple[int, int]:
    """Returns how many processes start, and the threads of each; (1, 0) where this one does the work."""
    search: Any = Fitting(hardware=replace(machine(gpus), cpu_count=cores), needs=needs)
    crew = crew_unasked(search, stops)
    return (1, 0) if crew is None else (crew.size, crew.threads)


@pytest.mark.parametrize(
    ("cores", "crew"), [(1, (1, 0)), (2, (2, 1)), (3, (3, 1)), (6, (3, 2)), (7, (3, 2)), (8, (4, 2)), (64, (4, 16))]
)
def test_cores_are_shared_out_unasked(cores, crew):
    """Up to four processes take as many of the cores as they can share evenly."""
    assert unasked(cores) == crew


def test_processes_that_do_not_fit_side_by_side_are_not_started():
    """Every start has to fit into a share of the memory: three processes of six cores, then two, or this one alone."""
    gib = 2**30
    assert [unasked(6, needs=share)[0] for share in (gib // 3, gib // 3 + 1, gib // 2, gib // 2 + 1)] == [3, 2, 2, 1]


@pytest.mark.parametrize("stops", [Limits(trials=9), Limits(trials=9, seconds=60.0), Limits(tokens=9, seconds=60.0)])
def test_what_is_counted_stays_with_one_process(stops):
    """So many trials or tokens come to the same every time, in the order in which one process has them."""
    assert unasked(stops=stops) == (1, 0)


def test_a_short_search_starts_no_processes():
    """Most of its time would go into loading the libraries once more."""
    assert [unasked(stops=Limits(seconds=seconds)) for seconds in (59.0, 60.0)] == [(1, 0), (4, 2)]


def test_a_gpu_is_not_shared_unasked():
    """Its memory is what is scarce; processes for several GPUs are asked for."""
    assert unasked(gpus=2) == (1, 0)


def test_no_process_is_started_for_gpus_that_nobody_names():
    """Without --workers and --gpus no process is started by number, whatever the machine has."""
    assert crew_of(Spread(), machine(0)) is None
    assert crew_of(Spread(), machine(4)) is None


def test_one_process_for_each_gpu():
    """GPUs that were named and left have a process each, which sees its own alone; otherwise the freest are taken."""
    named = crew_of(Spread(gpus=("3", "1")), machine(2))
    assert named is not None
    assert [named.environment(k)["CUDA_VISIBLE_DEVICES"] for k in range(named.size)] == ["GPU-1", "GPU-0"]
    counted = crew_of(Spread(workers=2), machine(4))
    assert counted is not None
    assert counted.gpus == ("GPU-3", "GPU-2")


def test_processes_plan_for_the_least_of_their_cards():
    """What a process tries fits whichever of the cards it has, and that is the only one that it sees."""
    taken = among_freest(machine(4), Spread(workers=2).processes)
    crew = crew_of(Spread(workers=2), taken)
    assert crew is not None
    shared = crew.share(Search(hardware=taken))  # type: ignore[arg-type]
    (own,) = shared.hardware.devices
    assert (own.index, own.kind, own.uuid, own.free_memory_bytes) == (0, "cuda", None, 3 * 2**30)


def test_a_process_claims_no_slice_but_its_own():
    """Slices go by name, and what a process is told to plan for does not make it leave the one that it was given."""
    whole = machine(2)
    split = replace(whole, devices=tuple(replace(d, index=0, mig=True, exclusive=True) for d in whole.devices))
    crew = crew_of(Spread(workers=2), split)
    assert crew is not None
    assert [crew.environment(k)["CUDA_VISIBLE_DEVICES"] for k in (0, 1)] == ["GPU-1", "GPU-0"]
    shared = crew.share(Search(hardware=split))  # type: ignore[arg-type]
    claim(shared.hardware.device)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_worker_whose_gpu_torch_cannot_use_says_so(monkeypatch):
    """It would train on the processor instead, and nobody would know why the search is slow."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    search: Any = Search(hardware=machine(1))
    job: Any = SimpleNamespace(maker=None)
    with pytest.raises(DeviceError, match="card is here, but torch"):
        made(alone(search), job)


@pytest.mark.parametrize(
    ("spread", "processes"),
    [(Spread(), 1), (Spread(workers=3), 3), (Spread(gpus=("0", "1")), 2), (Spread(ray="", workers=4), 1)],
)
def test_processes_of_this_machine_are_counted(spread, processes):
    """One for each worker, or else for each named GPU; those of a cluster are not this machine's."""
    assert spread.processes == processes


def test_pickles_that_are_allowed_are_so_on_a_cluster(monkeypatch):
    """Workers here inherit the variable, tasks elsewhere are handed it; none by default."""
    assert permissions() == {}
    monkeypatch.setenv("AUTOPEFT_ALLOW_PICKLE", "1")
    assert permissions() == {"AUTOPEFT_ALLOW_PICKLE": "1"}


def trusting(_job) -> tuple[SimulatedRunner, float]:
    trusted.append(remote_code_trusted())
    return SimulatedRunner(0), 1000.0


trusted: list[bool] = []


def test_leave_to_run_code_reaches_workers_and_tasks(tmp_path):
    """A job and a place among several devices carry the leave to wherever they are taken up; none by default."""
    trusted.clear()
    open_study(tmp_path)
    with trust_remote_code():
        told, place = job(tmp_path, 1, trusting), Place(prepared=prepared(), rank=0, meeting=tmp_path)
    work(alone(prepared()), told, lambda: None)
    train_rung("told", prepared(), told, Rung(number=0, candidate=STARTS[0], before=None, state=None, seconds=60.0))
    work(alone(prepared()), job(tmp_path, 2, trusting), lambda: None)
    assert trusted == [True, True, False]
    assert place.trusted
    assert not Place(prepared=prepared(), rank=0, meeting=tmp_path).trusted
    assert not remote_code_trusted()


def test_workers_get_the_gpus_that_this_process_sees(monkeypatch):
    """Where the environment leaves this process two GPUs, workers get those and not the first two of the machine."""
    cards = [Card(uuid=f"GPU-{k}", free=k * GIB) for k in range(1, 9)]
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(*cards))
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    crew = crew_of(Spread(workers=2), probe_hardware())
    assert crew is not None
    assert crew.gpus == ("GPU-6", "GPU-4")


def test_processes_share_a_processor_and_its_memory():
    """On a machine without GPUs each of three processes has a third of the threads and of the memory."""
    crew = crew_of(Spread(workers=3), machine(0))
    assert crew is not None
    assert crew.environment(0)["OMP_NUM_THREADS"] == "2"
    assert "CUDA_VISIBLE_DEVICES" not in crew.environment(0)
    shared = crew.share(Search(hardware=machine(0)))  # type: ignore[arg-type]
    assert shared.memory_bytes == 2**30 // 3


@pytest.mark.parametrize(
    ("spread", "gpus", "message"),
    [
        (Spread(workers=3), 2, "`--workers` of a search must be at most 2, one process for each GPU; got 3"),
        (Spread(workers=3, gpus=("0", "1")), 2, "at most 2, one process for each GPU; got 3"),
        (
            Spread(gpus=("0", "9")),
            1,
            "`--gpus` of a search must be names of this machine's GPUs, as 1 of these are",
        ),
        (Spread(gpus=("0",)), 0, "`--gpus` of a search must be left out on a machine without GPUs; got '0'"),
    ],
)
def test_what_cannot_be_is_refused(spread, gpus, message):
    """More processes than GPUs, and GPUs where there are none, are named."""
    with pytest.raises(InvalidValueError, match=message):
        crew_of(spread, machine(gpus))


@pytest.mark.parametrize("text", ["0,,1", "0,0", ""])
def test_a_list_of_gpus_names_each_once(text):
    """An empty name and a repeated one are refused."""
    with pytest.raises(InvalidValueError, match="`--gpus` of the command must be names of different GPUs"):
        parse_gpus(text)


def test_this_process_sees_the_named_gpus_alone(monkeypatch):
    """What prepares and compares must not take a GPU that was left to others."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert parse_gpus("2, 3") == ("2", "3")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"
