"""AdamW over lists of tensors, a kernel for each operation: what torch takes on a GPU where no other is asked for."""

from typing import Any

from autopeft.optimizers._declaration import Optimizer
from autopeft.optimizers._groups import model_groups


def _build(model: Any, learning_rate: float, weight_decay: float) -> Any:
    import torch

    return torch.optim.AdamW(model_groups(model, learning_rate, weight_decay), lr=learning_rate, foreach=True)


OPTIMIZER = Optimizer(
    name="adamw_foreach",
    title="AdamW, lists of tensors at once",
    state_bytes_per_parameter=8.0,
    build=_build,
    trainer_name="adamw_torch",
    options={},
    shardable=True,
    needs_cuda=False,
    source="Loshchilov & Hutter, arXiv 1711.05101; torch's default on a GPU, which copies a moment as it updates",
)
