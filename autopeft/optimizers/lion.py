"""Lion: steps by the sign of a momentum, so that one state is kept where Adam keeps two."""

from typing import Any

from autopeft.optimizers._declaration import Optimizer
from autopeft.optimizers._groups import model_groups


def _build(model: Any, learning_rate: float, weight_decay: float) -> Any:
    from bitsandbytes.optim import Lion32bit

    return Lion32bit(model_groups(model, learning_rate, weight_decay), lr=learning_rate)


OPTIMIZER = Optimizer(
    name="lion",
    title="Lion",
    state_bytes_per_parameter=4.0,
    build=_build,
    trainer_name="lion_32bit",
    options={"beta1": 0.9, "beta2": 0.99},
    needs_cuda=False,
    source="Chen et al., arXiv 2302.06675: rates three to ten times lower than AdamW's; through bitsandbytes 0.50",
)
