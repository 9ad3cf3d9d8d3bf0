"""Riemannian preconditioning: AdamW on a low-rank pair's gradients, each divided by what the other factor stretches.

Before every step A's gradient is multiplied by (Bᵀ B + δ I)⁻¹ and B's by (A Aᵀ + δ I)⁻¹, matrices of the rank's size
(section 3 of the paper), so that a step is as long however the product is shared between the two.
"""

from typing import Any

from autopeft.optimizers._declaration import Optimizer
from autopeft.optimizers._groups import fusable, model_groups, trainable, unsuited

_DAMPING = 1e-2
"""δ, as peft has it by default: B starts at zero, where its Gram matrix has no inverse."""


def _build(model: Any, learning_rate: float, weight_decay: float) -> Any:
    """Returns peft's optimizer over AdamW; what belongs to no pair, such as a task head, takes AdamW's own step.

    Raises:
        InvalidValueError: the model trains no low-rank pair of peft's.
    """
    import torch
    from peft.optimizers import create_riemannian_optimizer

    names = {name for name, parameter in trainable(model) if parameter.ndim == 2}
    if not any(".lora_A." in name and name.replace(".lora_A.", ".lora_B.") in names for name in names):
        because = "the model trains no low-rank pairs of peft's, an A and a B matrix"
        raise unsuited("riemannian", because, "a method that has them")
    groups = model_groups(model, learning_rate, weight_decay)
    optimizer = create_riemannian_optimizer(
        model, torch.optim.AdamW, lr=learning_rate, reg=_DAMPING, fused=fusable(groups)
    )
    # peft puts everything into one group, where scales and biases would decay too.
    optimizer.param_groups.clear()
    for group in groups:
        optimizer.add_param_group(group)
    return optimizer


OPTIMIZER = Optimizer(
    name="riemannian",
    title="AdamW, preconditioned for pairs",
    state_bytes_per_parameter=8.0,
    build=_build,
    trainer_name="adamw_torch_fused",
    options={"damping": _DAMPING},
    needs_cuda=False,
    source="Zhang & Pilanci, arXiv 2402.02347, through peft 0.21's create_riemannian_optimizer",
)
