"""What a Trainer says of its task, its rows and its evaluation is read as the Trainer itself means it."""

import pytest
import transformers

from autopeft.errors import InvalidValueError
from autopeft.integration.subject import read_subject


def test_one_output_without_a_type_is_a_number(build_trainer, tiny_models):
    """transformers takes a head with one output for a regression, so its loss is one; two outputs are classes."""
    trainer = build_trainer()
    assert read_subject(trainer, None).task.task == "classification"
    load = transformers.AutoModelForSequenceClassification.from_pretrained
    trainer.model = load(tiny_models["bert"], num_labels=1)
    assert read_subject(trainer, None).task.task == "regression"


def test_several_labels_per_row_are_refused(build_trainer):
    """No task has them: the winner's own training would compare one label with all."""
    trainer = build_trainer()
    trainer.model.config.problem_type = "multi_label_classification"
    with pytest.raises(InvalidValueError, match=r"`problem_type` of the trainer's model .*\nNo task here has several"):
        read_subject(trainer, None)


def test_padding_is_no_training_token(build_trainer):
    """Rows padded to one length are as long as what is read of them; what they take in memory is their whole length."""
    trainer = build_trainer()
    row = {"input_ids": [1] * 10 + [0] * 22, "attention_mask": [1] * 10 + [0] * 22, "labels": 0}
    trainer.train_dataset = [row] * 8
    tokens = read_subject(trainer, None).task.tokens
    assert (tokens.mean, tokens.p50, tokens.p95, tokens.longest) == (10, 10, 10, 32)
    trainer.train_dataset = [{"input_ids": [1] * 5, "labels": 0}] * 8
    assert read_subject(trainer, None).task.tokens.mean == 5


def test_several_evaluation_sets_are_refused(build_trainer):
    """Their losses have names of their own, so none of them is the one that decides."""
    trainer = build_trainer()
    trainer.eval_dataset = {"short": trainer.eval_dataset, "long": trainer.eval_dataset}
    with pytest.raises(
        InvalidValueError, match=r"`eval_dataset` of the trainer must be one data set; got 'short, long'"
    ):
        read_subject(trainer, None)
