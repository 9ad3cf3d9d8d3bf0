"""What was timed on this machine is used afterwards, and only there."""

from dataclasses import replace

import pytest

from autopeft.profiling import measure
from autopeft.profiling.cpu import cpu_device
from autopeft.profiling.hardware import probe_hardware
from autopeft.profiling.timed import keep_throughput, kept_throughput
from autopeft.values.profiles import Throughput

TIMED = Throughput(
    tflops={"float32": 0.1, "bfloat16": 0.1, "float16": 0.1}, bandwidth_bytes_per_second=1e10, source="measured"
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_a_timed_device_is_known_afterwards(monkeypatch):
    """`profile --measure` once, and every later plan for this machine has its speed; a catalogue card keeps its own."""
    assert probe_hardware().device.throughput is None
    monkeypatch.setattr(measure, "measure", lambda device: TIMED)
    assert probe_hardware(measure=True).device.throughput == TIMED
    assert probe_hardware().device.throughput == TIMED
    assert probe_hardware(gpu="rtx-3090").device.throughput != TIMED


def test_another_device_has_not_been_timed(tmp_path):
    """Speeds belong to a device's name; a file that is cut short counts as none."""
    device = cpu_device()
    keep_throughput(device, TIMED)
    assert kept_throughput(device) == TIMED
    assert kept_throughput(replace(device, name="another")) is None
    for path in (tmp_path / "throughput").iterdir():
        path.write_text('{"tflops": {')
    assert kept_throughput(device) is None


def test_slices_of_different_sizes_are_timed_each():
    """A card's slices have one name and different shares of its speed: their memory tells them apart."""
    whole = replace(cpu_device(), kind="cuda", name="a card")
    small = replace(whole, mig=True, total_memory_bytes=10 << 30)
    keep_throughput(small, TIMED)
    assert kept_throughput(small) == TIMED
    assert kept_throughput(replace(small, total_memory_bytes=20 << 30)) is None
    assert kept_throughput(whole) is None
