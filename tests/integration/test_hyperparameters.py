"""Methods and their settings are searched with a Trainer that is there already, which is then as it was."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import transformers

import autopeft
from autopeft.errors import InvalidValueError, ModelError, NothingFitsError
from autopeft.integration import borrowed
from autopeft.integration.borrowed import Borrowed
from autopeft.integration.hyperparameters import _best, _held, _possible
from autopeft.methods import get_method
from autopeft.training.base import fingerprint
from autopeft.values.candidates import Candidate, Constraints


@pytest.fixture
def searched(build_trainer):
    """A search over a method beside the weights and one that changes them, the trainer, and what it held before."""
    trainer = build_trainer(metric_for_best_model="accuracy", lr_scheduler_type="cosine")
    before = SimpleNamespace(args=trainer.args, model=trainer.model, weights=fingerprint(trainer.model),
                             trained=[p.requires_grad for p in trainer.model.parameters()],
                             callbacks=list(trainer.callback_handler.callbacks))  # fmt: skip
    best = autopeft.hyperparameter_search(trainer, n_trials=4, methods=("lora", "full"), verbose=False)
    return best, trainer, before


def test_two_lines_find_a_method_and_leave_the_trainer_as_it_was(searched, tmp_path):
    """Both methods train, the best by the trainer's own metric wins, its config trains, and the trainer is whole."""
    best, trainer, before = searched
    assert {outcome.candidate.method for outcome in best.outcomes} == {"lora", "full"}
    assert len(best.outcomes) == 4
    completed = [outcome for outcome in best.outcomes if outcome.status == "completed"]
    assert best.metric == "eval_accuracy"
    assert best.value == max(outcome.metrics["eval_accuracy"] for outcome in completed)
    winner = next(outcome for outcome in completed if outcome.candidate == best.tuned.candidate)
    assert winner.metrics["eval_accuracy"] == best.value
    # Equal budgets: each trial sees the rows that the trainer's own arguments come to, up to a part of a batch.
    assert all(640 <= outcome.tokens <= 640 + 32 * 10 for outcome in completed)

    assert trainer.args is before.args
    assert trainer.model is before.model
    assert fingerprint(trainer.model) == before.weights
    assert [p.requires_grad for p in trainer.model.parameters()] == before.trained
    assert trainer.callback_handler.callbacks == before.callbacks
    assert trainer.train().global_step == 8

    best.tuned.save(tmp_path / "tuned.yaml")
    loaded = autopeft.TunedConfig.load(tmp_path / "tuned.yaml")
    assert loaded == best.tuned
    model, _ = loaded.load_model()
    assert any(parameter.requires_grad for parameter in model.parameters())
    arguments = loaded.training_arguments(tmp_path)
    assert arguments.learning_rate == best.tuned.candidate.learning_rate
    rows = "text,label\n" + "".join(f"row {index} of them,LABEL_{index % 2}\n" for index in range(60))
    (tmp_path / "mine.csv").write_text(rows)
    assert len(loaded.prepare(tmp_path / "mine.csv")["train"]) == 48


def test_a_model_with_an_adapter_is_refused(build_trainer):
    """A second adapter would be attached over the first: the base model has to be given."""
    trainer = build_trainer()
    trainer.model.peft_config = {}
    with pytest.raises(ModelError, match="has an adapter already"):
        autopeft.hyperparameter_search(trainer, n_trials=1)


def test_rows_that_are_not_there_and_numbers_that_cannot_be_are_refused(build_trainer):
    """Said before anything trains: no evaluation rows, no trials."""
    trainer = build_trainer()
    with pytest.raises(InvalidValueError, match="`n_trials` of a hyperparameter search must be at least 1; got 0"):
        autopeft.hyperparameter_search(trainer, n_trials=0)
    trainer.eval_dataset = None
    with pytest.raises(InvalidValueError, match="`eval_dataset` of the trainer must be a data set with a length"):
        autopeft.hyperparameter_search(trainer, n_trials=1)


def bare(kind, **held):
    """A trainer of a kind that has nothing but what its loss is made by."""
    trainer = object.__new__(kind)
    vars(trainer).update({"label_smoother": None, "compute_loss_func": None, **held})
    return trainer


def test_a_trainer_with_its_own_loss_gets_no_method_that_lengthens_the_sequence():
    """Such a loss compares logits with labels row by row; a plain Trainer leaves the loss to the model."""

    class Own(transformers.Trainer):  # type: ignore[misc]
        def compute_loss(self, *arguments, **options):
            raise NotImplementedError

    assert _possible(Constraints(), bare(transformers.Trainer)) == Constraints()
    own = bare(Own)
    assert {"prompt_tuning", "lora_prefix"} <= set(_possible(Constraints(exclude=("full",)), own).exclude)
    assert "lora" not in _possible(Constraints(), own).exclude
    for given in ({"label_smoother": object()}, {"compute_loss_func": print}):
        assert "prompt_tuning" in _possible(Constraints(), bare(transformers.Trainer, **given)).exclude
    with pytest.raises(InvalidValueError, match=r"with Own, .* without those that take room .*; got 'prompt_tuning'"):
        _possible(Constraints(methods=("lora", "prompt_tuning")), own)


def test_a_trainer_in_float16_trains_a_models_own_weights_in_float32():
    """transformers' scaler takes no others; what a method adds beside them is float32 of its own."""
    subject = SimpleNamespace(quantization="none", dtype="float16", weights="float16")
    starts = [Candidate(method=name, learning_rate=1e-3) for name in ("lora", "full")]
    assert [_held(start, subject).dtype for start in starts] == ["float16", "float32"]  # type: ignore[arg-type]


def test_weights_stay_in_what_they_were_loaded_in():
    """A trainer that computes in bfloat16 trains float32 weights as they are, and so must the full training."""
    starts = [Candidate(method=name, learning_rate=1e-3) for name in ("lora", "full")]
    for weights in ("float32", "bfloat16"):
        subject = SimpleNamespace(quantization="none", dtype="bfloat16", weights=weights)
        assert [_held(start, subject).dtype for start in starts] == ["bfloat16", weights]  # type: ignore[arg-type]


def test_nothing_completed_is_no_result():
    """Where every trial was pruned or infeasible there is no winner to return."""
    args = SimpleNamespace(metric_for_best_model=None, greater_is_better=None)
    with pytest.raises(NothingFitsError, match="No trial was completed"):
        _best(SimpleNamespace(args=args), None, [], 1.0)  # type: ignore[arg-type]  # read only where there is a winner


def test_a_trial_that_fails_before_it_trains_takes_its_method_off(build_trainer, monkeypatch):
    """An error while the trainer is prepared is the one that is seen, and the model is whole."""
    trainer = build_trainer()
    before = fingerprint(trainer.model)

    def failing(*_):
        raise OSError("no room for the arguments")

    monkeypatch.setattr(Borrowed, "_hand_over", failing)
    with pytest.raises(OSError, match="no room for the arguments"):
        autopeft.hyperparameter_search(trainer, n_trials=1, methods=("lora",), verbose=False)
    assert fingerprint(trainer.model) == before


def test_a_method_that_fails_half_attached_ends_the_search(build_trainer, monkeypatch):
    """A model with half a method in it is nobody's base: the search says so, and no later trial is blamed for it."""

    def half(name):
        method = get_method(name)

        def apply(model, setup):
            method.apply(model, setup)
            raise torch.OutOfMemoryError("CUDA out of memory")

        return replace(method, apply=apply)

    monkeypatch.setattr(borrowed, "get_method", half)
    with pytest.raises(ModelError, match=r"lora failed while it was attached.*CUDA out of memory\nLoad the model anew"):
        autopeft.hyperparameter_search(build_trainer(), n_trials=2, methods=("lora",), verbose=False)


def test_early_stopping_is_set_aside_and_put_back(build_trainer):
    """It refuses to train without evaluations of its own, which no trial has; afterwards it stands where it stood."""
    trainer = build_trainer(metric_for_best_model="loss", eval_strategy="steps", eval_steps=4)
    trainer.add_callback(transformers.EarlyStoppingCallback(early_stopping_patience=1))
    trainer.add_callback(transformers.TrainerCallback())
    before = list(trainer.callback_handler.callbacks)
    best = autopeft.hyperparameter_search(trainer, n_trials=1, methods=("lora",), verbose=False)
    assert [outcome.status for outcome in best.outcomes] == ["completed"]
    assert trainer.callback_handler.callbacks == before
    assert trainer.train().global_step <= 8


def test_a_method_that_needs_more_steps_is_infeasible(build_trainer):
    """A schedule that a trial is too short for is said of that trial, and the search goes on."""
    trainer = build_trainer(max_steps=2)
    with pytest.raises(NothingFitsError, match="adalora: infeasible: The rank schedule needs at least 10 optimizer"):
        autopeft.hyperparameter_search(trainer, n_trials=2, methods=("adalora",), verbose=False)
