"""LoRA-FA: freezes the first factor of every low-rank pair and corrects the second one's gradient for it."""

from typing import Any

from autopeft.optimizers._declaration import Optimizer
from autopeft.optimizers._groups import trainable, unsuited


def _build(model: Any, learning_rate: float, weight_decay: float) -> Any:
    """Returns peft's optimizer; the A matrices of the model require no gradient from then on.

    Raises:
        InvalidValueError: the model is not one of peft's with one low-rank pair per layer, or its second factors are
            frozen, so that nothing would train.
    """
    from peft import LoraConfig
    from peft.optimizers import create_lorafa_optimizer

    config = getattr(model, "peft_config", {}).get("default")
    # Parameters are paired by what their names begin with, as a magnitude's name does too.
    if not isinstance(config, LoraConfig) or config.use_dora:
        because = "the model has no low-rank pairs of peft's, an A and a B matrix alone"
        raise unsuited("lora_fa", because, "a method that has them")
    if not any("lora_B" in name or "lora_embedding_B" in name for name, _ in trainable(model)):
        raise unsuited("lora_fa", "the model's B matrices are frozen already", "a method that trains them")
    return create_lorafa_optimizer(
        model=model, r=config.r, lora_alpha=config.lora_alpha, lr=learning_rate, weight_decay=weight_decay
    )


OPTIMIZER = Optimizer(
    name="lora_fa",
    title="LoRA-FA, the first factors frozen",
    state_bytes_per_parameter=8.0,
    build=_build,
    trainer_name="adamw_torch",
    options={},
    needs_cuda=False,
    freezes_first_factors=True,
    source="Zhang et al., arXiv 2308.03303, through peft 0.21's LoraFAOptimizer",
)
