"""AdamW in one kernel for all tensors, and nowhere else: where a device has no such kernel, it is refused."""

from typing import Any

from autopeft.errors import invalid
from autopeft.optimizers._declaration import Optimizer
from autopeft.optimizers._groups import adamw_over, model_groups, trainable


def _build(model: Any, learning_rate: float, weight_decay: float) -> Any:
    """Returns torch's fused AdamW.

    Raises:
        InvalidValueError: a parameter's device has no fused kernel.
    """
    optimizer = adamw_over(model_groups(model, learning_rate, weight_decay), learning_rate)
    # A model of shapes alone, on torch's meta device, steps without a kernel: it is only counted.
    real = any(not parameter.is_meta for _, parameter in trainable(model))
    if real and not optimizer.defaults["fused"]:
        expected = "an optimizer that the model's device has a kernel for"
        raise invalid("optimizer", "a candidate", expected, "adamw_fused", "Choose 'adamw', which does without.")
    return optimizer


OPTIMIZER = Optimizer(
    name="adamw_fused",
    title="AdamW, fused kernel or none",
    state_bytes_per_parameter=8.0,
    build=_build,
    trainer_name="adamw_torch_fused",
    options={},
    shardable=True,
    needs_cuda=False,
    source="Loshchilov & Hutter, arXiv 1711.05101; the kernel is torch's. 'adamw' takes it too, where there is one",
)
