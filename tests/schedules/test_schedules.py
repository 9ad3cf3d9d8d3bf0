"""How the learning rate goes, and that transformers' trainer lets it go the same way."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autopeft.errors import InvalidValueError
from autopeft.schedules import all_schedules, get_schedule, warmup_steps

NAMES = {"constant", "cosine", "linear", "warmup_stable_decay"}
SCHEDULES = sorted(all_schedules().values(), key=lambda schedule: schedule.name)


def test_every_schedule_is_found():
    """The catalogue holds exactly the schedules that files may name."""
    assert set(all_schedules()) == NAMES


def test_an_unknown_schedule_is_refused():
    """A wrong name gets the right ones and the closest of them."""
    with pytest.raises(InvalidValueError, match=r"(?s)`schedule` of a candidate .*Did you mean 'cosine'"):
        get_schedule("cosin")


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
@given(total=st.integers(1, 500), warmup_share=st.floats(0, 0.5))
def test_the_rate_rises_and_never_again(schedule, total, warmup_share):
    """The factor stays in (0, 1] while there are steps, rises over the warm-up, and does not rise after it."""
    factor = schedule.over(total, warmup_share)
    values = [factor(step) for step in range(total)]
    warmup = math.ceil(warmup_share * total)
    assert all(0 < value <= 1 for value in values)
    assert values[:warmup] == sorted(values[:warmup])
    assert values[warmup:] == sorted(values[warmup:], reverse=True)
    if warmup < total:
        assert factor(total) == pytest.approx(1 if schedule.name == "constant" else 0)


@pytest.mark.parametrize("total", [7, 100])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
def test_the_trainer_follows_the_same_schedule(schedule, total):
    """After the warm-up the name and options given to the trainer make the rate that the search has used."""
    from transformers import get_scheduler

    warmup = warmup_steps(total, 0.06)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_scheduler(
        schedule.trainer_name, optimizer, num_warmup_steps=warmup, num_training_steps=total,
        scheduler_specific_kwargs=dict(schedule.trainer_options(total - warmup)),
    )  # fmt: skip
    ours = schedule.over(total, 0.06)
    for step in range(total):
        if step >= warmup:
            assert theirs.get_last_lr() == pytest.approx([ours(step)], abs=1e-9)
        optimizer.step()
        theirs.step()
