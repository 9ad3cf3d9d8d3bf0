"""What options of several commands mean, and the GPU that a command leaves itself."""

import os
import sys

import pytest

from autopeft.cli.options import leave_freest_gpu
from tests.finetune.conftest import tuned_for
from tests.profiling.fake_nvml import GIB, Card, FakeNvml
from tests.toys import classification_csv


@pytest.fixture
def cards(monkeypatch):
    """Two cards, the second with more room; what a test sets of CUDA's variables is forgotten after it."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    driver = FakeNvml(Card(uuid="GPU-a", free=4 * GIB), Card(uuid="GPU-b", free=20 * GIB))
    monkeypatch.setitem(sys.modules, "pynvml", driver)


@pytest.mark.parametrize(("visible", "left"), [(None, "1"), ("1,0", "1"), ("GPU-a,GPU-b", "GPU-b"), ("0", "0")])
def test_the_gpu_with_the_most_room_is_left(cards, monkeypatch, visible, left):
    """Of the cards that a process may use it sees the one that estimates are of, by the name that it goes by."""
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    leave_freest_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == left
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_of_a_split_card_the_freest_slice_is_left(cards, monkeypatch):
    """CUDA would give the first slice; the one with the most room is left by its own name."""
    slices: list[Card | None] = [Card(uuid="MIG-a", free=4 * GIB), Card(uuid="MIG-b", free=9 * GIB)]
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(Card(capability=(8, 0), slices=slices)))
    leave_freest_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-b"


def test_training_and_predicting_run_on_that_gpu(cards, autopeft, tiny_models, tmp_path):
    """Both commands leave themselves that card before they read any data."""
    tuned_for(tiny_models["bert"], classification_csv(tmp_path / "toy.csv"), "classification").save(tmp_path / "t.yaml")
    for command in (("train", tmp_path / "t.yaml", "--output", tmp_path / "out"), ("predict", tmp_path)):
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        assert autopeft(*command, "--data", tmp_path / "none.csv").code == 2
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
