"""Which processes a search starts, and where each runs."""

import os
from dataclasses import dataclass
from typing import Any

import pytest

from autopeft.cli.options import parse_gpus
from autopeft.environment import permissions, trust_remote_code
from autopeft.errors import InvalidValueError
from autopeft.tuning.crew import crew_of
from autopeft.tuning.spread import Spread
from autopeft.values.profiles import Device, HardwareProfile


def machine(gpus: int) -> HardwareProfile:
    kind: Any = "cuda" if gpus else "cpu"
    devices = tuple(
        Device(index=k, name="card", kind=kind, total_memory_bytes=2**34, free_memory_bytes=2**34)
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


def test_this_process_works_alone_unless_it_is_told_otherwise():
    """Without --workers and --gpus no process is started, whatever the machine has."""
    assert crew_of(Spread(), machine(0)) is None
    assert crew_of(Spread(), machine(4)) is None


def test_one_process_for_each_gpu():
    """Named GPUs have a process each, which sees its own alone; without names the first are taken."""
    named = crew_of(Spread(gpus=("3", "1")), machine(4))
    assert named is not None
    assert [named.environment(k)["CUDA_VISIBLE_DEVICES"] for k in range(named.size)] == ["3", "1"]
    counted = crew_of(Spread(workers=2), machine(4))
    assert counted is not None
    assert counted.gpus == ("0", "1")
    shared = counted.share(Search(hardware=machine(4)))  # type: ignore[arg-type]
    assert [(device.index, device.kind) for device in shared.hardware.devices] == [(0, "cuda")]


def test_what_a_run_is_allowed_reaches_its_processes(monkeypatch):
    """Leave to run a model's own code, and to read pickles, holds in workers here and on a cluster; none by default."""
    crew = crew_of(Spread(workers=2), machine(0))
    assert crew is not None
    assert "AUTOPEFT_TRUST_REMOTE_CODE" not in crew.environment(0)
    assert permissions() == {}
    monkeypatch.setenv("AUTOPEFT_ALLOW_PICKLE", "1")
    with trust_remote_code():
        assert crew.environment(1)["AUTOPEFT_TRUST_REMOTE_CODE"] == "1"
        assert permissions() == {"AUTOPEFT_ALLOW_PICKLE": "1", "AUTOPEFT_TRUST_REMOTE_CODE": "1"}
    assert set(permissions()) == {"AUTOPEFT_ALLOW_PICKLE"}


def test_the_names_of_visible_gpus_are_kept(monkeypatch):
    """Where the environment leaves this process two GPUs, workers get those and not the first two of the machine."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    crew = crew_of(Spread(workers=2), machine(2))
    assert crew is not None
    assert crew.gpus == ("5", "7")


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
        (Spread(workers=3, gpus=("0", "1")), 4, "at most 2, one process for each GPU; got 3"),
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
