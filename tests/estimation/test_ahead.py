"""A second process traces from the end of the list, and changes nothing but how long it takes."""

import os
import time
from pathlib import Path

import pytest
import torch

from autopeft.estimation import ahead as second
from autopeft.estimation import estimate
from autopeft.estimation.ahead import ahead
from autopeft.estimation.estimate import is_kept
from tests.estimation.test_trace_depth import TOKENS, _setup
from tests.recommend.settings import hardware

GIVEN = {"tokens_per_row": TOKENS, "hardware": hardware()}
LONGEST = 120.0


@pytest.fixture
def setups(tmp_path_factory, tmp_path, monkeypatch):
    """Three setups in an empty cache, none traced by this process before."""
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path))
    monkeypatch.setattr(second, "cpu_count", lambda: 2)
    root = tmp_path_factory.getbasetemp() / "shapes"
    return [_setup(root, "llama", method) for method in ("ia3", "lokr", "vera")]


def kept(setups):
    return [is_kept(setup, **GIVEN) for setup in setups]


def test_the_last_are_traced_while_the_caller_does_something_else(setups, tmp_path, monkeypatch):
    """Without a stroke of this process's own all are there in the end, and are what it would have found itself."""
    with ahead(setups, **GIVEN):
        until = time.monotonic() + LONGEST
        while not all(kept(setups)) and time.monotonic() < until:
            time.sleep(0.1)
        assert kept(setups) == [True] * 3
        found = [estimate(setup, **GIVEN) for setup in setups]
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path / "anew"))
    assert kept(setups) == [False] * 3
    assert [estimate(setup, **GIVEN) for setup in setups] == found


def children() -> set[str]:
    """The children of this process, those included that have ended: other tests may have left some."""
    return {child for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_nobody_waits_for_the_second_process(setups):
    """It ends by itself once the caller has what it wants, and is not the caller's child: none is left to reap."""
    before = children()
    with ahead(setups, **GIVEN):
        pass
    assert children() == before


@pytest.mark.parametrize("why", ["one is missing", "CUDA is begun", "one core"])
def test_there_is_none_where_it_would_not_help_or_could_hurt(setups, monkeypatch, why):
    """A single trace is the caller's own, a forked process must not touch CUDA, and one core has no time for two."""
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("a process was made"))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: why == "CUDA is begun")
    if why == "one core":
        monkeypatch.setattr(second, "cpu_count", lambda: 1)
    with ahead(setups[:1] if why == "one is missing" else setups, **GIVEN):
        assert kept(setups) == [False] * 3
