"""The trainer of a full training takes the memory and the schedule that were planned for it."""

from dataclasses import replace

import pytest

from autopeft.finetune import Silent
from autopeft.finetune.trainer import build_trainer
from autopeft.values.candidates import SCORED_ON_CPU
from tests.finetune.conftest import LORA


@pytest.fixture
def build(tuned, source, tmp_path):
    """Returns candidate → the trainer's arguments on 192 training rows."""

    def arguments(candidate, *, epochs=1.0, device="cpu"):
        config = replace(tuned, candidate=candidate)
        model, _ = config.load_model(device="cpu")
        data = config.prepare(source)
        return build_trainer(
            config, model, data["train"], data["validation"], folder=tmp_path, epochs=epochs, device=device,
            report=Silent().step, resumable=True,
        ).args  # fmt: skip

    return arguments


def test_a_reading_takes_the_rows_that_memory_was_planned_for(build):
    """On a GPU a reading takes as many rows at once as a training step, and on a CPU as many as all other scoring."""
    few = replace(LORA, batch_size=2)
    assert build(few, device="cuda:0").per_device_eval_batch_size == 2
    assert build(few).per_device_eval_batch_size == SCORED_ON_CPU


@pytest.mark.parametrize(("epochs", "falling"), [(0.5, 3), (10.0, 45)])
def test_a_schedule_falls_over_a_share_of_the_run(build, epochs, falling):
    """The last fifth after the warm-up is that of the steps of this run, not of the 48 that the search planned."""
    arguments = build(replace(LORA, schedule="warmup_stable_decay"), epochs=epochs)
    assert arguments.num_train_epochs == epochs
    assert arguments.lr_scheduler_kwargs["num_decay_steps"] == falling
