"""The second pass over a batch is written down from the first, and is what running it would have recorded."""

from dataclasses import replace

import pytest
import torch

from autopeft.estimation.tracing import setup as tracing
from autopeft.estimation.tracing import steps
from autopeft.estimation.tracing.again import Pass, repeat
from autopeft.estimation.tracing.recorder import Recorder
from tests.estimation.architectures import ARCHITECTURES, GPU
from tests.estimation.test_trace_depth import CHANGES, TOKENS, _setup

METHODS: list[dict[str, object]] = [
    {"method": name} for name in ("adalora", "lokr", "prefix_tuning", "tinylora", "unilora", "shira")
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.getbasetemp() / "shapes"


def recorded(setup):
    request = tracing._Request(setup, TOKENS, GPU, padded=True)
    return tracing._run(request, tracing.depth_plan(setup)).recording


def same_as_run(setup, monkeypatch):
    """Asserts that a second pass is written down, and equals one that is run."""
    repeated = []

    def told(*given):
        repeated.append(repeat(*given))
        return repeated[-1]

    monkeypatch.setattr(steps, "repeat", told)
    written = recorded(setup)
    monkeypatch.setattr(steps, "repeat", lambda *_: False)
    run = recorded(setup)
    assert repeated == [True]
    assert written.phases == run.phases
    assert [replace(block, alive=True) for block in _by_event(written)] == [
        replace(block, alive=True) for block in _by_event(run)
    ]
    assert [event[1:] for event in written.events] == [event[1:] for event in run.events]
    assert sorted(map(repr, written.operations)) == sorted(map(repr, run.operations))


def _by_event(recording):
    return [recording.blocks[event.block] for event in recording.events]


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture_repeats(root, name, monkeypatch):
    """Event by event, with the layers they belong to, and operation by operation."""
    same_as_run(_setup(root, name), monkeypatch)


@pytest.mark.parametrize("change", [*CHANGES, *METHODS], ids=str)
def test_every_way_to_train_repeats(root, change, monkeypatch):
    """Checkpointing, quantization, optimizers and methods of all kinds."""
    same_as_run(_setup(root, "llama", **change), monkeypatch)


def test_what_the_step_freed_of_a_pass_makes_it_run():
    """A block of the pass that lived until the step, and was no gradient, cannot be told: nothing is written."""
    recorder = Recorder()
    with recorder:
        recorder.phase("forward")
        held = torch.empty(10, device="meta")
        end = len(recorder.events)
        del held
    assert not repeat(recorder, Pass(start=0, end=end, gradients=()))
    assert len(recorder.events) == 2
