"""Trials that share a forward pass of the base train as they would alone."""

from pathlib import Path

import pytest
import torch

from benchmarks import packing


@pytest.fixture(scope="module")
def packed(tiny_models):
    """A tiny model with three trials' adapters, and rows for each of them."""
    torch.manual_seed(0)
    return packing.adapted(Path(tiny_models["bert"]), 3, 4, "cpu"), torch.randint(5, 200, (4, 12))


def test_gradients_are_those_of_training_alone(packed):
    """Whoever shares the pass."""
    model, rows = packed
    assert packing.check(model, rows, 3) < 1e-5


def test_each_trial_has_an_adapter_of_its_own(packed):
    """What one learns the others do not see."""
    model, rows = packed
    packing.losses(model, rows, [1]).sum().backward()
    assert packing.gradients(model, 1).abs().max() > 0
    assert all(p.grad is None or not p.grad.any() for key, p in model.named_parameters() if packing.name(2) in key)
    model.zero_grad()


def test_seconds_are_measured_both_ways(packed):
    """A step of each of the trials, apart and together, and the gradients are gone after it."""
    model, rows = packed
    apart, together = packing.compare(model, rows, 2, "cpu")
    assert min(apart, together) > 0
    assert all(parameter.grad is None for parameter in model.parameters())
