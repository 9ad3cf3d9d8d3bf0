"""AdamW whose moments are 8-bit codes with one scale per 256 values."""

from typing import Any

from autopeft.optimizers._declaration import Optimizer
from autopeft.optimizers._groups import model_groups


def _build(model: Any, learning_rate: float, weight_decay: float) -> Any:
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(model_groups(model, learning_rate, weight_decay), lr=learning_rate)


OPTIMIZER = Optimizer(
    name="adamw_8bit",
    title="AdamW, 8-bit state",
    # two codes and two shares of a 4-byte scale; tensors below 4096 values keep 8 bytes each
    state_bytes_per_parameter=2 * (1 + 4 / 256),
    build=_build,
    trainer_name="adamw_bnb_8bit",
    options={},
    needs_cuda=False,
    source="Dettmers et al., arXiv 2110.02861; bytes and the CPU path measured with bitsandbytes 0.50",
)
