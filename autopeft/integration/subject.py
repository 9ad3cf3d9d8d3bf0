"""What a Trainer that is there already says about a search: its model, its rows, its budget."""

import math
from dataclasses import dataclass
from typing import Any

from autopeft.errors import ModelError, invalid, unknown
from autopeft.profiling.model import read_model
from autopeft.quantization import all_quantizations
from autopeft.tasks import TaskType, all_tasks, get_task
from autopeft.training.scoring import spread
from autopeft.values.names import Dtype, Task
from autopeft.values.profiles import ModelProfile, TaskProfile, TokenLengths

ROWS_MEASURED = 2000
"""Training rows whose tokens are counted."""

_SEVERAL_LABELS = "multi_label_classification"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is tuned, and how long one training of it is.

    Attributes:
        quantization: how the trainer's model is loaded: a scheme of the catalogue.
        dtype: what the trainer computes in.
        weights: what the model's own weights are held in.
        rows: training rows that one training sees, over all its epochs.
    """

    model: ModelProfile
    task: TaskProfile
    quantization: str
    dtype: Dtype
    weights: Dtype
    rows: int

    @property
    def tokens(self) -> int:
        """Training tokens of one training."""
        return round(self.rows * self.task.tokens.mean)

    @property
    def epochs(self) -> float:
        """Passes over the training rows that one training is."""
        return self.rows / self.task.training_rows

    def steps(self, batch: int) -> int:
        """Returns the optimizer steps of one training with so many rows per step."""
        return max(1, math.ceil(self.rows / batch))


def read_subject(trainer: Any, task: Task | None) -> Subject:
    """Returns what a trainer is about to train.

    Args:
        trainer: transformers' Trainer, or one built on it, around a base model without an adapter.
        task: the task type; by the model's head where it is None.

    Raises:
        InvalidValueError: the trainer has no rows to train on, none or several sets of them to evaluate on, several
            labels per row, or several devices.
        ModelError: its model has an adapter already, or no folder or name to read its config from.
    """
    _check(trainer)
    config = trainer.model.config
    chosen = get_task(task).name if task else _task_of(trainer.model)
    labels = config.num_labels if get_task(chosen).has_labels else 1
    rows = len(trainer.train_dataset)
    return Subject(
        model=read_model(config._name_or_path, chosen, labels),
        task=TaskProfile(
            task=chosen, source="the trainer's", rows={"train": rows}, tokens=_lengths(trainer.train_dataset),
            labels=tuple(config.id2label[place] for place in range(labels)) if labels > 1 else (),
        ),
        quantization=_quantization(config),
        dtype=_dtype(trainer),
        weights=_weights(trainer),
        rows=_rows_seen(trainer.args, rows),
    )  # fmt: skip


def _check(trainer: Any) -> None:
    for key in ("train_dataset", "eval_dataset"):
        if not hasattr(getattr(trainer, key), "__len__"):
            raise invalid(key, "the trainer", "a data set with a length", type(getattr(trainer, key)).__name__)
    if isinstance(trainer.eval_dataset, dict):
        advice = "Give the one whose loss is to decide."
        raise invalid("eval_dataset", "the trainer", "one data set", ", ".join(trainer.eval_dataset), advice)
    if max(trainer.args.world_size, trainer.args.n_gpu) > 1:
        advice = "Show it one device (CUDA_VISIBLE_DEVICES=0)."
        raise invalid("devices", "the trainer", "1", max(trainer.args.world_size, trainer.args.n_gpu), advice)
    if trainer.model.config.problem_type == _SEVERAL_LABELS:
        raise invalid(
            "problem_type", "the trainer's model", "one with a label or a number per row", _SEVERAL_LABELS,
            "No task here has several labels per row, so what is found could not be trained: search label by label.",
        )  # fmt: skip
    if hasattr(trainer.model, "peft_config"):
        raise ModelError("The trainer's model has an adapter already.\nGive the Trainer the base model alone.")
    if not getattr(trainer.model.config, "_name_or_path", ""):
        raise ModelError(
            "The trainer's model was not loaded from a folder or a name, so its config cannot be read again.\n"
            "Save it with save_pretrained and load it with from_pretrained."
        )


def _task_of(model: Any) -> Task:
    """Returns the first task type whose class the model is."""
    found = [task.name for task in all_tasks().values() if _is_one_of(model, task)]
    if "regression" in found and _has_a_number(model.config):
        return "regression"
    if found:
        return found[0]
    raise ModelError(f"{type(model).__name__} is no class that a task here trains.\nName the task with task=….")


def _is_one_of(model: Any, task: TaskType) -> bool:
    """Whether a model's class is one that a task trains."""
    import transformers

    return any(type(model) in getattr(transformers, name)._model_mapping.values() for name in task.auto_class.values())


def _has_a_number(config: Any) -> bool:
    """Whether a sequence classifier gives a number: where its config does not say, transformers goes by its outputs."""
    return bool(config.problem_type == "regression" or (config.problem_type is None and config.num_labels == 1))


def _lengths(dataset: Any) -> TokenLengths:
    """Returns the tokens of the rows; those that pad all rows to one length count in the longest, which takes memory.

    Raises:
        InvalidValueError: the rows are not tokenised.
    """
    first = dataset[0]
    if "input_ids" not in first:
        raise invalid("train_dataset", "the trainer", "tokenised: rows with input_ids", ", ".join(first))
    rows = [dataset[row] for row in spread(len(dataset), ROWS_MEASURED)]
    lengths = sorted(int(sum(row.get("attention_mask", [1] * len(row["input_ids"])))) for row in rows)
    last = len(lengths) - 1
    return TokenLengths(
        p50=lengths[round(last * 0.5)], p95=lengths[round(last * 0.95)],
        longest=max(len(row["input_ids"]) for row in rows),
        mean=sum(lengths) / len(lengths),
    )  # fmt: skip


def _quantization(config: Any) -> str:
    """Returns the scheme that a model's bitsandbytes config stands for."""
    held = getattr(config, "quantization_config", None)
    if held is None:
        return "none"
    keys = ("load_in_8bit", "load_in_4bit", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant")
    found = [getattr(held, key, None) for key in keys]
    for name, scheme in all_quantizations().items():
        known = scheme.config("float32")
        if known is not None and [getattr(known, key) for key in keys] == found:
            return name
    raise unknown("quantization_config", "the trainer's model", type(held).__name__, all_quantizations())


def _dtype(trainer: Any) -> Dtype:
    if trainer.args.bf16:
        return "bfloat16"
    if trainer.args.fp16:
        return "float16"
    return _weights(trainer)


def _weights(trainer: Any) -> Dtype:
    return str(trainer.model.dtype).removeprefix("torch.")  # type: ignore[return-value]


def _rows_seen(args: Any, rows: int) -> int:
    if args.max_steps > 0:
        return int(args.max_steps * args.train_batch_size * args.gradient_accumulation_steps)
    seen: float = rows * args.num_train_epochs
    return math.ceil(seen)
