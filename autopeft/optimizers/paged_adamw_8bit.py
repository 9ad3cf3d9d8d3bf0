"""8-bit AdamW whose state lies in unified memory, so that a peak can push it out to the host."""

from typing import Any

from autopeft.optimizers._declaration import Optimizer
from autopeft.optimizers._groups import model_groups


def _build(model: Any, learning_rate: float, weight_decay: float) -> Any:
    from bitsandbytes.optim import PagedAdamW8bit

    return PagedAdamW8bit(model_groups(model, learning_rate, weight_decay), lr=learning_rate)


OPTIMIZER = Optimizer(
    name="paged_adamw_8bit",
    title="AdamW, 8-bit paged state",
    state_bytes_per_parameter=2 * (1 + 4 / 256),
    build=_build,
    trainer_name="paged_adamw_8bit",
    options={},
    # on a CPU bitsandbytes warns and falls back to the unpaged form: then it would be another optimizer's name
    needs_cuda=True,
    source="Dettmers et al., QLoRA, arXiv 2305.14314, section 3",
)
