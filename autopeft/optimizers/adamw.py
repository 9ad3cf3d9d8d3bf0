"""AdamW with its state in the parameters' dtype."""

from typing import Any

from autopeft.optimizers._declaration import Optimizer
from autopeft.optimizers._groups import adamw_over, model_groups


def _build(model: Any, learning_rate: float, weight_decay: float) -> Any:
    return adamw_over(model_groups(model, learning_rate, weight_decay), learning_rate)


OPTIMIZER = Optimizer(
    name="adamw",
    title="AdamW",
    state_bytes_per_parameter=8.0,
    build=_build,
    trainer_name="adamw_torch_fused",
    options={},
    shardable=True,
    needs_cuda=False,
    source="Loshchilov & Hutter, arXiv 1711.05101: two moments, fp32 for the fp32 parameters that train",
)
