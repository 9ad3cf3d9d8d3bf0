"""A base that a method changes is kept where no estimate of the device's memory has to count it."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from autopeft.training.base import copy_weights, restore_weights


def test_the_copy_of_a_base_lies_in_main_memory():
    """On a card a second base beside the one that trains would take what the estimate leaves for activations."""
    with FakeTensorMode():
        model = torch.nn.Module()
        model.register_buffer("weight", torch.empty(3, 2, device="cuda"))
        assert {value.device.type for value in copy_weights(model).values()} == {"cpu"}


def test_the_copy_does_not_follow_what_it_was_made_of():
    """On a CPU it is a copy all the same, and brings the old values back."""
    model = torch.nn.Linear(3, 2)
    before = model.weight.detach().clone()
    copied = copy_weights(model)
    with torch.no_grad():
        model.weight.add_(1)
    restore_weights(model, copied)
    assert torch.equal(model.weight, before)
