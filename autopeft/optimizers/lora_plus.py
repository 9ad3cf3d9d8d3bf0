"""LoRA+: AdamW that gives the second factor of every low-rank pair a higher learning rate than the first."""

from typing import Any

from autopeft.errors import InvalidValueError
from autopeft.optimizers._declaration import Optimizer
from autopeft.optimizers._groups import adamw_over, groups, trainable

_RATIO = 16.0
_SECOND_FACTORS = frozenset({"lora_B", "lora_embedding_B"})
"""What peft calls the matrix that starts at zero; the part of a parameter's dotted name that tells it."""


def _build(model: Any, learning_rate: float, weight_decay: float) -> Any:
    """Returns AdamW with three kinds of groups.

    Only the second factors are faster: everything else, a task head's bias too, keeps the given rate.

    Raises:
        InvalidValueError: the model trains no second factor, so there is nothing to make faster.
    """
    parameters = list(trainable(model))
    second = [p for name, p in parameters if _is_second_factor(name)]
    if not second:
        raise InvalidValueError(
            "`optimizer` of a candidate must suit what trains; got 'lora_plus', but the model trains no low-rank "
            "pair with a B matrix.\nUse it with a low-rank method that has A and B factors, or choose 'adamw'."
        )
    others = [p for name, p in parameters if not _is_second_factor(name)]
    slow = groups(others, learning_rate, weight_decay)
    return adamw_over([*slow, *groups(second, learning_rate * _RATIO, weight_decay)], learning_rate)


def _is_second_factor(name: str) -> bool:
    return not _SECOND_FACTORS.isdisjoint(name.split("."))


OPTIMIZER = Optimizer(
    name="lora_plus",
    title="AdamW with LoRA+'s two learning rates",
    state_bytes_per_parameter=8.0,
    build=_build,
    trainer_name="adamw_torch_fused",
    options={"ratio": _RATIO},
    shardable=True,
    needs_cuda=False,
    source="Hayou et al., LoRA+, arXiv 2402.12354: a ratio of about 16 between the two learning rates",
)
