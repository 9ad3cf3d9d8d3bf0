"""Adafactor at a fixed learning rate: a matrix's second moment as a row and a column, no first moment."""

from typing import Any

from autopeft.optimizers._declaration import Optimizer
from autopeft.optimizers._groups import model_groups

_TYPICAL_MATRIX = (16, 1024)
"""State falls with both sides of a matrix; this is a small adapter's, so the figure is on the high side."""


def _build(model: Any, learning_rate: float, weight_decay: float) -> Any:
    from transformers.optimization import Adafactor

    groups = model_groups(model, learning_rate, weight_decay)
    # the learning rate is searched for, so the paper's own schedule and its scaling by the weights' size are off
    return Adafactor(groups, lr=learning_rate, scale_parameter=False, relative_step=False, warmup_init=False)


OPTIMIZER = Optimizer(
    name="adafactor",
    title="Adafactor",
    state_bytes_per_parameter=4 * sum(_TYPICAL_MATRIX) / (_TYPICAL_MATRIX[0] * _TYPICAL_MATRIX[1]),
    build=_build,
    trainer_name="adafactor",
    options={},
    needs_cuda=False,
    source="Shazeer & Stern, arXiv 1804.04235",
)
