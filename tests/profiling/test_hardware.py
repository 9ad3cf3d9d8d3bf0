"""Rules of `probe_hardware`: what the driver reports is reported truthfully, and one device is planned for."""

import os
import sys

import pytest

from autopeft.errors import DeviceError, InvalidValueError, OutOfMemoryError
from autopeft.profiling import cpu, hardware
from autopeft.profiling.hardware import among_freest, probe_hardware
from autopeft.profiling.precision import choose_dtype
from autopeft.profiling.usable import check_usable, claim
from autopeft.training.devices import training_device
from autopeft.values.profiles import Device, Throughput
from tests.profiling.fake_nvml import (
    GIB,
    Card,
    FakeNvml,
    NVMLError_DriverNotLoaded,
    NVMLError_LibraryNotFound,
)


@pytest.fixture
def driver(monkeypatch):
    """Puts a driver with the given cards in the place of the real one."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.setenv(name, "")  # so that what is set meanwhile is taken back afterwards
        monkeypatch.delenv(name)

    def install(*cards, fails=None):
        fake = FakeNvml(*cards, fails=fails)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return fake

    return install


def test_card_with_most_free_memory_is_planned_for(driver):
    """All cards are listed in order; the one with the most free memory, not the largest, is selected."""
    fake = driver(Card(total=80 * GIB, free=10 * GIB, uuid="GPU-a"), Card(uuid="GPU-b"), Card(free=GIB, uuid="GPU-c"))
    found = probe_hardware()
    assert (found.source, found.selected, [d.index for d in found.devices]) == ("nvml", 1, [0, 1, 2])
    assert (found.device.total_memory_bytes, found.device.free_memory_bytes) == (24 * GIB, 23 * GIB)
    assert found.device.compute_capability == "8.6"
    assert fake.open == 0


def test_card_known_to_the_catalogue_has_its_rates(driver):
    """The driver's name finds the datasheet's rates; a name that is not known finds none."""
    driver(Card(), Card(name="NVIDIA Something New", uuid="GPU-1"))
    known, other = probe_hardware().devices
    assert known.throughput is not None
    assert known.throughput.tflops["bfloat16"] == 71
    assert other.throughput is None


def test_split_card_is_offered_as_its_slices(driver):
    """A card in MIG mode is its slices with their memory, gaps in the numbering left out, never the whole."""
    slices = [Card(uuid="MIG-a", total=10 * GIB, free=9 * GIB), None, Card(uuid="MIG-b", total=20 * GIB, free=19 * GIB)]
    driver(Card(name="NVIDIA A100-SXM4-40GB", capability=(8, 0), total=40 * GIB, slices=slices))
    found = probe_hardware()
    assert [(d.mig, d.total_memory_bytes) for d in found.devices] == [(True, 10 * GIB), (True, 20 * GIB)]
    assert found.selected == 1
    assert found.device.compute_capability == "8.0"
    assert any("split by MIG into 2 slices" in note for note in found.notes)


def split(uuid="GPU-a", **_):
    """A card in two slices, the second with more room."""
    slices = [Card(uuid="MIG-a", total=10 * GIB, free=9 * GIB), Card(uuid="MIG-b", total=20 * GIB, free=19 * GIB)]
    return Card(name="NVIDIA A100-SXM4-40GB", uuid=uuid, capability=(8, 0), total=40 * GIB, slices=[*slices])


@pytest.mark.parametrize("beside", [(), (Card(uuid="GPU-b", free=15 * GIB),)])
@pytest.mark.parametrize("claims", [lambda found: check_usable(found.device), training_device])
def test_a_slice_is_claimed_by_its_name(driver, monkeypatch, beside, claims):
    """CUDA gives a process one slice, and by itself the first: the one planned for is asked for before it begins."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    driver(split(), *beside)
    found = probe_hardware()
    assert [(d.index, d.exclusive) for d in found.devices] == [(0, True)] * (2 + len(beside))
    claims(found)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-b"
    assert training_device(found) == "cuda:0"
    (left,) = probe_hardware().devices
    assert (left.uuid, left.exclusive) == ("MIG-b", False)


def test_whole_cards_are_left_to_a_process(driver, monkeypatch):
    """Among whole cards an index tells one, and nothing else of the process is narrowed."""
    driver(Card(uuid="GPU-a"), Card(uuid="GPU-b"))
    found = probe_hardware()
    assert [(d.index, d.uuid, d.exclusive) for d in found.devices] == [(0, "GPU-a", False), (1, "GPU-b", False)]
    claim(found.device)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_slice_is_not_claimed_too_late(driver, monkeypatch):
    """Once CUDA has begun, its choice stands: that is said, and what children inherit is left."""
    monkeypatch.setattr("autopeft.profiling.nvml.cuda_begun", lambda: True)
    monkeypatch.setattr("autopeft.profiling.usable.cuda_begun", lambda: True)
    driver(split())
    found = probe_hardware()
    assert any("CUDA has begun in this process and gives it one MIG slice" in note for note in found.notes)
    claim(found.device)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(
    ("visible", "left"),
    [
        ("0", ["MIG-a", "MIG-b"]),
        ("GPU-a", ["MIG-a", "MIG-b"]),
        ("MIG-b", ["MIG-b"]),
        ("1", ["GPU-b"]),
        ("0,0,1", ["MIG-a", "MIG-b"]),
    ],
)
def test_a_split_cards_own_name_leaves_its_slices(driver, monkeypatch, visible, left):
    """Who names a split card has CUDA run on a slice of it, not on the processor."""
    driver(split(), Card(uuid="GPU-b"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [device.uuid for device in probe_hardware().devices] == left


def test_several_cards_are_the_freest_and_planned_for_by_the_least(driver):
    """Of three cards two are taken: those with the most room, by whose lesser one is planned, its dtype included."""
    cards = (
        Card(uuid="GPU-a", free=4 * GIB),
        Card(uuid="GPU-b", free=23 * GIB),
        Card(name="Tesla T4", uuid="GPU-c", capability=(7, 5), total=16 * GIB, free=7 * GIB),
    )
    driver(*cards)
    found = among_freest(probe_hardware(), 2)
    assert [(device.uuid, device.index) for device in found.devices] == [("GPU-b", 1), ("GPU-c", 2)]
    assert (found.device.uuid, found.device.free_memory_bytes, found.dtype) == ("GPU-c", 7 * GIB, "float16")
    assert any("Tesla T4 has 7.0 GiB free of 16.0 GiB" in note for note in found.notes)
    assert among_freest(probe_hardware(), 1) == probe_hardware()
    assert len(among_freest(probe_hardware(), 9).devices) == 3


def test_mig_mode_without_slices_leaves_no_card(driver):
    """Nothing can run on a card in MIG mode without a slice: the CPU is planned for, and the reason is said."""
    driver(Card(capability=(8, 0), slices=[]))
    found = probe_hardware()
    assert found.source == "cpu"
    assert any("without a slice" in note for note in found.notes)


def test_memory_of_others_is_reported(driver):
    """Other processes are counted with what they hold, this one is not, an untold size counts as nothing."""
    driver(Card(free=5 * GIB, processes=[(1, 10 * GIB), (2, None), (os.getpid(), GIB)]))
    found = probe_hardware()
    assert (found.device.other_processes, found.device.other_used_bytes) == (2, 10 * GIB)
    assert any("has 5.0 GiB free of 24.0 GiB" in note for note in found.notes)


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ["b"]),
        ("2,0", ["c", "a"]),
        ("GPU-b", ["b"]),
        ("0,9,1", ["a"]),
        ("0,0,1", ["a"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
    ],
)
def test_cuda_visible_devices_is_respected(driver, monkeypatch, visible, names):
    """Devices are those that CUDA would see, in its order; the first unknown or repeated name ends the list."""
    driver(*(Card(name=name, uuid=f"GPU-{name}") for name in "abc"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = probe_hardware()
    assert [d.name for d in found.devices if d.kind == "cuda"] == names
    assert [d.index for d in found.devices] == list(range(len(found.devices)))
    assert found.source == ("nvml" if names else "cpu")


def test_cuda_numbers_the_cards_as_the_driver_does(driver, monkeypatch):
    """By itself CUDA would call the fastest card its first: this process and its workers go by the bus, as NVML."""
    two = Card(name="NVIDIA A100-SXM4-80GB", uuid="GPU-a"), Card(name="NVIDIA GeForce GTX 1650", uuid="GPU-b")
    driver(*two)
    assert not any("CUDA_DEVICE_ORDER" in note for note in probe_hardware().notes)
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    monkeypatch.delenv("CUDA_DEVICE_ORDER")
    monkeypatch.setattr("autopeft.profiling.nvml.cuda_begun", lambda: True)
    assert any("CUDA_DEVICE_ORDER is FASTEST_FIRST" in note for note in probe_hardware().notes)


def test_another_order_is_left_and_said(driver, monkeypatch):
    """A user's own order stays; where cards differ it is said that another one than planned for may train."""
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    driver(Card(uuid="GPU-a"), Card(name="NVIDIA L4", uuid="GPU-b"))
    assert any("Set CUDA_DEVICE_ORDER=PCI_BUS_ID before" in note for note in probe_hardware().notes)
    assert os.environ["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"
    driver(Card(uuid="GPU-a"), Card(uuid="GPU-b"))
    assert not any("CUDA_DEVICE_ORDER" in note for note in probe_hardware().notes)


def test_no_driver_means_cpu(driver):
    """A machine without NVIDIA's library is planned for by its CPU and RAM, without a remark."""
    driver(fails=NVMLError_LibraryNotFound("NVML Shared Library Not Found"))
    found = probe_hardware()
    assert (found.source, found.device.kind, found.notes) == ("cpu", "cpu", ())
    assert 0 < found.device.free_memory_bytes <= found.device.total_memory_bytes == found.ram_bytes


def test_driver_that_does_not_answer_is_said(driver):
    """A library without its driver is a broken machine: planned for by its CPU, with the driver's words."""
    driver(fails=NVMLError_DriverNotLoaded("Driver Not Loaded"))
    found = probe_hardware()
    assert found.device.kind == "cpu"
    assert found.notes == ("The NVIDIA driver does not answer: Driver Not Loaded.",)


def test_lost_card_is_left_out_with_a_remark(driver):
    """One card that fails does not hide the others."""
    driver(Card(lost=True), Card(uuid="GPU-1"))
    found = probe_hardware()
    assert len(found.devices) == 1
    assert any("GPU 0 is left out" in note and "GPU is lost" in note for note in found.notes)


def test_shared_memory_is_the_systems(driver, monkeypatch):
    """A device without memory of its own has the system's."""
    monkeypatch.setattr("autopeft.profiling.nvml.memory_bytes", lambda: (64 * GIB, 60 * GIB))
    driver(Card(name="Orin", capability=(8, 7), unified=True))
    assert probe_hardware().device.total_memory_bytes == 64 * GIB


def test_named_card_is_planned_for(driver):
    """`--gpu` takes a card nobody here owns, without asking the driver."""
    driver(fails=AssertionError("the driver was asked"))
    found = probe_hardware(gpu="a100-80gb")
    assert (found.source, found.dtype, found.device.total_memory_bytes) == ("catalogue", "bfloat16", 80 * GIB)
    assert "8.0" in found.dtype_reason
    assert found.device.context_bytes is not None


def test_unknown_card_gets_a_close_match():
    """A misspelt card is answered with the nearest name."""
    with pytest.raises(InvalidValueError, match=r"`--gpu` .* got 'rtx4090'\.\nDid you mean 'rtx-4090'\?"):
        probe_hardware(gpu="rtx4090")
    with pytest.raises(InvalidValueError, match="`--measure` of the command must be left out with --gpu"):
        probe_hardware(gpu="rtx-4090", measure=True)


def test_given_memory_replaces_the_devices(driver):
    """`--memory` plans for that much, all free, on this machine's device or on the named card."""
    driver(Card(processes=[]))
    found = probe_hardware(memory_bytes=7 * GIB)
    assert (found.source, found.device.name) == ("given", "NVIDIA GeForce RTX 3090")
    assert (found.device.total_memory_bytes, found.device.free_memory_bytes) == (7 * GIB, 7 * GIB)
    assert probe_hardware(gpu="h200", memory_bytes=GIB).device.free_memory_bytes == GIB


def test_measured_rates_replace_the_datasheets(driver, monkeypatch):
    """`--measure` times the selected device and decides the dtype on a CPU."""
    driver(fails=NVMLError_LibraryNotFound("none"))
    rates = Throughput(
        tflops={"float32": 1.0, "bfloat16": 3.0, "float16": 0.1}, bandwidth_bytes_per_second=1e10, source="measured"
    )
    monkeypatch.setattr("autopeft.profiling.measure.measure", lambda device: rates)
    found = probe_hardware(measure=True)
    assert found.device.throughput == rates
    assert (found.dtype, found.dtype_reason) == ("bfloat16", "measured: float32 1 TFLOP/s, bfloat16 3 TFLOP/s")


@pytest.mark.parametrize(
    ("kind", "capability", "rates", "dtype", "because"),
    [
        ("cuda", "9.0", {}, "bfloat16", "compute capability 9.0"),
        ("cuda", "8.0", {}, "bfloat16", "compute capability 8.0"),
        ("cuda", "10.0", {}, "bfloat16", "compute capability 10.0"),
        ("cuda", "7.5", {}, "float16", "compute capability 7.5"),
        ("cuda", "6.1", {}, "float32", "compute capability 6.1"),
        ("cuda", None, {}, "float32", "no compute capability"),
        ("cpu", None, {"float32": 1.0, "bfloat16": 1.2}, "float32", "measured: float32 1 "),
        ("rocm", None, {"float32": 163.4, "bfloat16": 1307.4}, "bfloat16", "1307.4 TFLOP/s"),
        ("rocm", None, {"float32": 23.0}, "float32", "no rate is known"),
        ("accelerator", None, {"bfloat16": 432.0}, "bfloat16", "no rate for float32"),
        ("mps", None, {}, "float32", "no rate is known"),
    ],
)
def test_dtype_rests_on_what_it_names(kind, capability, rates, dtype, because):
    """Every choice of dtype says the number or the flag that it rests on."""
    throughput = Throughput(tflops=rates, bandwidth_bytes_per_second=None, source="test") if rates else None
    device = Device(
        index=0, name="x", kind=kind, total_memory_bytes=1, free_memory_bytes=1, compute_capability=capability,
        throughput=throughput,
    )  # fmt: skip
    chosen, reason = choose_dtype(device)
    assert chosen == dtype
    assert because in reason


@pytest.mark.parametrize(
    ("flags", "because"),
    [("sse avx512_bf16 amx_bf16", "amx_bf16"), ("sse avx512_bf16", "avx512_bf16"), ("sse avx2", "neither amx_bf16")],
)
def test_cpu_flag_is_named(tmp_path, monkeypatch, flags, because):
    """Without a measurement a CPU computes in float32, and the flag that was looked at is named."""
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nmodel name : Some CPU\nflags : {flags}\n")
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    device = cpu.cpu_device()
    dtype, reason = choose_dtype(device)
    assert (device.name, dtype) == ("Some CPU", "float32")
    assert because in reason


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Writes the files of control groups, in which this process is job_7's step by version 2 and uid_1 by version 1."""
    member = tmp_path / "cgroup"
    member.write_text("5:cpu,cpuacct:/uid_1\n4:memory:/uid_1\n1:name=systemd:/init\n0::/job_7/step\n")
    monkeypatch.setattr(cpu, "_OWN_GROUPS", member)
    root = tmp_path / "fs"
    monkeypatch.setattr(cpu, "_CGROUP", root)

    def write(files):
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")

    return write


@pytest.mark.parametrize(
    ("files", "total", "free"),
    [
        ({"memory.max": "4294967296", "memory.current": "1073741824"}, 4 * GIB, 3 * GIB),
        ({"memory.max": str(4 * GIB), "memory.current": str(3 * GIB), "memory.stat": f"inactive_file {GIB}"}, 4 * GIB,
         2 * GIB),
        ({"memory/memory.limit_in_bytes": str(2 * GIB), "memory/memory.usage_in_bytes": str(GIB)}, 2 * GIB, GIB),
        ({"memory.max": "max"}, 32 * GIB, 30 * GIB),
        ({"memory/memory.limit_in_bytes": str(1 << 62)}, 32 * GIB, 30 * GIB),
        ({"memory.max": "max", "job_7/memory.max": str(8 * GIB), "job_7/memory.current": str(5 * GIB),
          "job_7/step/memory.max": "max"}, 8 * GIB, 3 * GIB),
        ({"job_7/memory.max": str(8 * GIB), "job_7/memory.current": str(7 * GIB),
          "job_7/step/memory.max": str(4 * GIB), "job_7/step/memory.current": str(GIB)}, 4 * GIB, GIB),
        ({"memory/uid_1/memory.limit_in_bytes": str(6 * GIB), "memory/uid_1/memory.usage_in_bytes": "0"}, 6 * GIB,
         6 * GIB),
        ({"another/memory.max": str(GIB)}, 32 * GIB, 30 * GIB),
        ({}, 32 * GIB, 30 * GIB),
    ],
)  # fmt: skip
def test_limits_of_the_container_hold(groups, monkeypatch, files, total, free):
    """RAM is the least that a control group of this process allows, version 2 or 1, file cache counted as free."""
    groups(files)

    class Memory:
        total, available = 32 * GIB, 30 * GIB

    monkeypatch.setattr("psutil.virtual_memory", lambda: Memory)
    assert cpu.memory_bytes() == (total, free)


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "250000 100000"}, 3),
        ({"job_7/cpu.max": "50000 100000"}, 1),
        ({"job_7/step/cpu.max": "600000 100000", "job_7/cpu.max": "400000 100000"}, 4),
        ({"cpu/uid_1/cpu.cfs_quota_us": "200000", "cpu/uid_1/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/uid_1/cpu.cfs_quota_us": "-1", "cpu/uid_1/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu.max": "1600000 100000"}, 8),
    ],
)
def test_processors_are_those_whose_time_may_be_taken(groups, monkeypatch, files, count):
    """A container or a job with half of a large machine's time is not to start a thread for each of its cores."""
    groups(files)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert cpu.cpu_count() == count


def test_measurement_is_a_number_per_dtype(monkeypatch):
    """A real measurement on this CPU gives a positive rate for each dtype and a bandwidth."""
    from autopeft.profiling import measure

    monkeypatch.setattr(measure, "SECONDS_EACH", 0.01)
    monkeypatch.setitem(measure._SIDE, "cpu", 64)
    found = measure.measure(cpu.cpu_device())
    assert set(found.tflops) == {"float32", "bfloat16", "float16"}
    assert min(found.tflops.values()) > 0
    assert found.bandwidth_bytes_per_second is not None
    assert 1e8 < found.bandwidth_bytes_per_second < 1e13
    assert found.source == "measured"


@pytest.mark.parametrize(
    ("built", "words"),
    [(None, "built without CUDA.*Install a torch with CUDA"), ("12.8", "does not start the CUDA 12.8.*Update the")],
)
def test_a_gpu_that_torch_cannot_use_is_refused(driver, monkeypatch, built, words):
    """The driver answers without torch: whether that can use the card is asked before it is planned for or timed."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", built)
    driver(Card())
    with pytest.raises(DeviceError, match=f"(?s)GeForce RTX 3090 is here, but .*{words}.*CUDA_VISIBLE_DEVICES="):
        probe_hardware(measure=True)
    check_usable(cpu.cpu_device())
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    check_usable(probe_hardware().device)


def test_a_full_card_cannot_be_timed(monkeypatch):
    """Where others hold the memory, a measurement says so and what to do, without torch's own words for it."""
    import torch

    from autopeft.profiling import measure

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(measure, "_product", full)
    with pytest.raises(OutOfMemoryError, match=r"too little free memory to be timed\.\nEnd what else runs"):
        measure.measure(cpu.cpu_device())


def test_first_among_equals_is_selected():
    """Two devices with the same free memory leave the choice to their order."""
    device = cpu.cpu_device()
    assert hardware.most_free((device, device)) == 0
