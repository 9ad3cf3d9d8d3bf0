"""Modules that methods hang beside the model's own: each is a child of the projection whose output it changes.

A child is called by a forward hook. The projection stays the module it was: code that asks for its weight or its
dtype (T5 does) finds them, quantized layers keep their own forward, base weights keep their names, and
recomputation under gradient checkpointing runs the hook again.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from autopeft.errors import ModelError
from autopeft.methods._native import refuse_quantized_merge

CHILD = "autopeft_adapter"

Added = tuple[list[Any], Callable[[], None]]
"""The parameters of what was added, and what takes it out again."""

Hook = Callable[[Any, Any, Any], Any]
"""(owner, its inputs, its output) → the output to go on with."""


def hang(owners: Sequence[Any], children: Sequence[Any], hook: Hook) -> Added:
    """Hangs each child below its owner and lets the hook see every output of the owner.

    Children follow their owner's device and mode. A parameter that several children share is returned once.
    """
    handles, parameters = [], {}
    for owner, child in zip(owners, children, strict=True):
        child.to(owner.weight.device).train(owner.training)
        owner.add_module(CHILD, child)
        handles.append(owner.register_forward_hook(hook))
        parameters.update({id(parameter): parameter for parameter in child.parameters()})
    return list(parameters.values()), partial(remove, owners, handles)


def remove(owners: Sequence[Any], handles: Sequence[Any]) -> None:
    """Takes the hooks off and the children out."""
    for handle in handles:
        handle.remove()
    for owner in owners:
        delattr(owner, CHILD)


def through_child(owner: Any, _inputs: Any, output: Any) -> Any:
    """Lets the child replace the owner's output: for adapters in sequence."""
    return getattr(owner, CHILD)(output)


def beside(owner: Any, inputs: tuple[Any, ...], output: Any) -> Any:
    """Adds what the child makes of the owner's input: computed in the child's dtype, added in the output's."""
    child = getattr(owner, CHILD)
    return output + child(inputs[0].to(next(child.parameters()).dtype)).to(output.dtype)


def children(model: Any) -> list[Any]:
    """Returns what hangs in a model, in its order.

    Raises:
        ModelError: nothing does: the method did not take effect.
    """
    found = [getattr(module, CHILD) for module in model.modules() if hasattr(module, CHILD)]
    if not found:
        raise ModelError("Nothing was added to the model: the method did not take effect.")
    return found


def fold(model: Any) -> None:
    """Adds each child's ``delta()``, of shape (out, in), to its owner's weight.

    Raises:
        ModelError: the base is quantized.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    refuse_quantized_merge(model)
    with torch.no_grad():
        for owner in [module for module in model.modules() if hasattr(module, CHILD)]:
            delta = getattr(owner, CHILD).delta()
            owner.weight.add_((delta.T if isinstance(owner, Conv1D) else delta).to(owner.weight.dtype))
