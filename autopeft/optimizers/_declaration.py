"""What an optimizer declares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """One optimizer.

    Attributes:
        state_bytes_per_parameter: optimizer state per trained parameter, in bytes; exact for `typical_matrix`.
        build: (model, learning rate, weight decay) → a ``torch.optim.Optimizer`` over the trainable parameters.
        trainer_name: the value of ``TrainingArguments.optim`` that comes nearest.
        options: fixed options, such as LoRA+'s ratio, for the catalogue.
        trainer_arguments: others of ``TrainingArguments`` without which that value is refused, or is another optimizer.
        trainer_note: what that value needs or does otherwise, where it has such arguments.
        needs_cuda: whether it only runs on a CUDA device.
        shardable: steps alike where each of several devices holds a share of every parameter (FSDP).
        freezes_first_factors: trains the second factor of every low-rank pair and leaves the first as it starts.
        typical_matrix: a trained matrix of a size that it is meant for.
    """

    name: str
    title: str
    state_bytes_per_parameter: float
    build: Callable[[Any, float, float], Any]
    trainer_name: str
    options: Mapping[str, float]
    needs_cuda: bool
    source: str
    shardable: bool = False
    freezes_first_factors: bool = False
    typical_matrix: tuple[int, int] = (16, 1024)
    trainer_arguments: Mapping[str, str] = field(default_factory=dict)
    trainer_note: str = ""
    kind: Literal["optimizer"] = field(default="optimizer", init=False)
