"""A trial prunes a training at equal tokens, and leaves its trainer as after any other training."""

import math
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
import transformers

from autopeft import AutoPeftPruningCallback
from autopeft.errors import InvalidValueError

TOKENS_PER_ROW = 10


class AfterSecond(optuna.pruners.BasePruner):
    """Prunes every trial at its second reading."""

    def prune(self, study, trial):
        return len(trial.intermediate_values) == 2


def trial_of(pruner=None, **options):
    return optuna.create_study(pruner=pruner or optuna.pruners.NopPruner(), **options).ask()


def readings(trial):
    return trial.study.get_trials()[0].intermediate_values


def test_a_pruned_training_ends_after_its_step_and_the_trainer_goes_on(build_trainer):
    """TrialPruned leaves train(), other callbacks saw the end, nothing was saved, and the trainer trains again."""
    ended = []

    class Other(transformers.TrainerCallback):  # type: ignore[misc]
        def on_train_end(self, args, state, control, **kwargs):
            ended.append(state.global_step)

    trainer = build_trainer(save_strategy="epoch", eval_strategy="epoch")
    trainer.add_callback(Other())
    callback = AutoPeftPruningCallback(trial_of(AfterSecond()), every_tokens=16 * TOKENS_PER_ROW)
    trainer.add_callback(callback)
    with pytest.raises(optuna.TrialPruned, match=r"eval_loss \d\.\d+ at 320 tokens is behind other trials"):
        trainer.train()
    assert ended == [4]
    assert not list(Path(trainer.args.output_dir).glob("checkpoint-*"))
    trainer.remove_callback(callback)
    assert math.isfinite(trainer.evaluate()["eval_loss"])
    assert trainer.train().global_step == 8


def test_readings_stand_at_equal_tokens_whatever_the_batch(build_trainer):
    """Batches of 8 and of 16 rows are read at the same tokens, so that a study can compare them."""
    found = []
    for rows, steps in ((8, 8), (16, 4)):
        trainer, trial = build_trainer(per_device_train_batch_size=rows, max_steps=steps), trial_of()
        trainer.add_callback(AutoPeftPruningCallback(trial, every_tokens=16 * TOKENS_PER_ROW))
        trainer.train()
        found.append(list(readings(trial)))
    assert found == [[160, 320, 480], [160, 320, 480]]


def evaluated(callback, metrics):
    """Plays the events of a step and its evaluation, and returns the control that the trainer would see."""
    control = SimpleNamespace(should_evaluate=False, should_save=True, should_training_stop=False)
    callback.on_step_end(None, SimpleNamespace(num_input_tokens_seen=100, global_step=1, max_steps=2), control)
    assert control.should_evaluate
    callback.on_evaluate(None, None, control, metrics=metrics)
    return control


def test_a_study_that_maximizes_gets_the_loss_with_its_sign_turned():
    """A pruner of a study for accuracy takes a lower loss for the better one."""
    trial = trial_of(direction="maximize")
    evaluated(AutoPeftPruningCallback(trial, every_tokens=100), {"eval_loss": 0.5})
    assert readings(trial) == {100: -0.5}


def test_a_loss_that_is_not_finite_ends_the_trial():
    """What has diverged is given up whatever the pruner thinks, and is not reported."""
    trial = trial_of()
    callback = AutoPeftPruningCallback(trial, every_tokens=100)
    control = evaluated(callback, {"eval_loss": math.nan})
    assert control.should_training_stop
    assert not control.should_save
    assert callback.diverged
    assert readings(trial) == {}
    with pytest.raises(optuna.TrialPruned, match="eval_loss became nan at 100 tokens"):
        callback.on_train_end(None, None, control)


def test_a_signal_that_no_evaluation_has_is_an_error():
    """A misspelled signal does not turn pruning off in silence; of several evaluation sets one may have it."""
    callback = AutoPeftPruningCallback(trial_of(), every_tokens=100, signal="eval_b_loss")
    control = evaluated(callback, {"eval_a_loss": 0.5})
    with pytest.raises(InvalidValueError, match=r"`signal` of AutoPeftPruningCallback must be one of .* eval_a_loss"):
        callback.on_train_end(None, None, control)
    callback.on_evaluate(None, None, control, metrics={"eval_b_loss": 0.5})
    callback.on_train_end(None, None, control)


@pytest.mark.parametrize(
    ("options", "tokens", "told"),
    [({"directions": ["minimize", "minimize"]}, 100, "of a study with one direction"), ({}, 0, "at least 1; got 0")],
)
def test_what_cannot_prune_is_refused(options, tokens, told):
    """A study of several objectives, and a distance of no tokens, are refused before anything trains."""
    with pytest.raises(InvalidValueError, match=told):
        AutoPeftPruningCallback(trial_of(**options), every_tokens=tokens)
