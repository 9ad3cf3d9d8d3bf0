"""How the optimizers divide the trainable parameters: what decays and what does not."""

from collections.abc import Iterator
from typing import Any

from autopeft.errors import InvalidValueError, invalid

Group = dict[str, Any]
"""One parameter group as ``torch.optim`` takes it: ``params``, ``lr``, ``weight_decay``."""


def trainable(model: Any) -> Iterator[tuple[str, Any]]:
    """Yields the name and the parameter of everything that trains, shared parameters once."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def decays(parameter: Any) -> bool:
    """Whether weight decay applies: to matrices; not to biases, norms and scaling vectors.

    A vector stays one when it is stored as a row or a column: decay would pull a scale that starts at 1 to 0.
    """
    return bool(parameter.ndim > 1 and parameter.numel() > max(parameter.shape))


def groups(parameters: list[Any], learning_rate: float, weight_decay: float) -> list[Group]:
    """Returns one group that decays and one that does not; a group without parameters is left out."""
    kept = [p for p in parameters if not decays(p)]
    decaying = [p for p in parameters if decays(p)]
    both = ((decaying, weight_decay), (kept, 0.0))
    return [{"params": some, "lr": learning_rate, "weight_decay": decay} for some, decay in both if some]


def model_groups(model: Any, learning_rate: float, weight_decay: float) -> list[Group]:
    """Returns the groups over all trainable parameters of a model at one learning rate."""
    return groups([parameter for _, parameter in trainable(model)], learning_rate, weight_decay)


def adamw_over(parameter_groups: list[Group], learning_rate: float) -> Any:
    """Returns torch's AdamW over the groups, in its fused form where every parameter's device has one."""
    import torch

    return torch.optim.AdamW(parameter_groups, lr=learning_rate, fused=fusable(parameter_groups))


def fusable(parameter_groups: list[Group]) -> bool:
    """Whether torch has its fused kernel for every parameter's device."""
    parameters = [parameter for group in parameter_groups for parameter in group["params"]]
    return all(p.device.type in _FUSED_DEVICES and p.is_floating_point() for p in parameters)


_FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})


def unsuited(name: str, because: str, methods: str) -> InvalidValueError:
    """Returns the error of an optimizer that what trains does not suit.

    Args:
        name: of the optimizer.
        because: what the model lacks.
        methods: what to use it with.
    """
    expected = f"one that suits what trains; {because}"
    return invalid("optimizer", "a candidate", expected, name, f"Use it with {methods}, or choose 'adamw'.")
