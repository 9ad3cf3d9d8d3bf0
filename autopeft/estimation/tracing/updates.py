"""What clipping and the optimizers allocate on the target device; on the meta device they would choose other ways.

Imported by functions only: it needs torch at import.
"""

from typing import Any

import torch

from autopeft.estimation.tracing.recorder import Recorder

_CODE_BITS = 8
"""Of a moment that is kept as codes; 32 for one that is not."""

_PAGED_FROM = 100_000
"""Values from which on bitsandbytes puts a paged optimizer's state into unified memory."""


def clip(trained: list[Any], recorder: Recorder) -> None:
    """Records clipping by the total norm: one number per gradient, the multiplication is in place.

    The few bytes in which the norms are stacked are left out.
    """
    norms = []
    for parameter in trained:
        if parameter.grad is not None:
            with recorder.within(recorder.layer_of(parameter)):
                norms.append(torch.linalg.vector_norm(parameter.grad))
    norms.reverse()
    while norms:
        norms.pop()


def update(optimizer: Any, recorder: Recorder) -> None:
    """Records one step of an optimizer.

    AdamW runs fused, without temporaries, where it is not told to take tensors at once; bitsandbytes' optimizers
    update in place. Any other takes its own step.
    """
    adamw = isinstance(optimizer, torch.optim.AdamW)
    with torch.no_grad(), recorder.storing("optimizer_state"):
        if adamw:
            _each(optimizer, recorder, _adamw_state)
    if adamw:
        if optimizer.defaults["foreach"]:
            _tensors_at_once(optimizer, recorder)
        return
    with torch.no_grad(), recorder.storing("optimizer_state"):
        if type(optimizer).__module__.startswith("bitsandbytes"):
            _tables(optimizer)
            _each(optimizer, recorder, _moments)
            return
    with torch.no_grad():
        before = {id(p) for p in optimizer.state}
        optimizer.step()
        for parameter, state in optimizer.state.items():
            if id(parameter) not in before:
                for value in state.values():
                    if isinstance(value, torch.Tensor):
                        recorder.relabel(value, "optimizer_state")


def _each(optimizer: Any, recorder: Recorder, make: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            with recorder.within(recorder.layer_of(parameter)):
                if not optimizer.state[parameter]:
                    make(optimizer, parameter, recorder)
                moved = _moved(parameter, optimizer.state[parameter])
                recorder.work("fused_update", 0.0, moved, "float32")


def _moved(parameter: Any, state: dict[str, Any]) -> list[int]:
    """Returns the bytes an update in place moves: weight and state read and written, the gradient read."""
    kept = [parameter, *(value for value in state.values() if isinstance(value, torch.Tensor))]
    sizes = [tensor.numel() * tensor.element_size() for tensor in kept]
    return [*(2 * size for size in sizes), parameter.grad.numel() * parameter.grad.element_size()]


def _adamw_state(optimizer: Any, parameter: Any, _recorder: Recorder) -> None:
    """Makes both moments and the count of steps, which a card's host keeps where tensors are taken at once.

    There too it is counted here, 512 bytes a tensor, for a CPU is its own host.
    """
    optimizer.state[parameter] = {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }


def _tensors_at_once(optimizer: Any, recorder: Recorder) -> None:
    """Takes what AdamW over lists of tensors holds and moves besides: the roots of a list's second moments.

    A list is what a group trains in one dtype; its roots go when those of the next list are made
    (``_multi_tensor_adam`` in torch/optim/adam.py).
    """
    for group in optimizer.param_groups:
        lists: dict[torch.dtype, list[Any]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                lists.setdefault(parameter.dtype, []).append(parameter)
        roots: list[torch.Tensor] = []
        for parameters in lists.values():
            roots = [_root(optimizer, parameter, recorder) for parameter in parameters]
        roots.clear()


def _root(optimizer: Any, parameter: Any, recorder: Recorder) -> torch.Tensor:
    """Makes the copy, and counts what the kernels move beyond one that does all at once.

    Of the weight, decay; of the first moment, a read; of the second five passes instead of two; of the copy six; of
    the gradient one more.
    """
    moment = optimizer.state[parameter]["exp_avg_sq"]
    with recorder.within(recorder.layer_of(parameter)):
        root = torch.empty_like(moment)
        weight, state = (tensor.numel() * tensor.element_size() for tensor in (parameter, moment))
        gradient = parameter.grad.numel() * parameter.grad.element_size()
        recorder.work("foreach_update", 0.0, [2 * weight, state, 3 * state, 6 * state, gradient], "float32")
    return root


def _tables(optimizer: Any) -> None:
    """Makes the two code books that all 8-bit states of an optimizer share, 256 numbers each."""
    if optimizer.args.optim_bits == _CODE_BITS and "traced" not in optimizer.name2qmap:
        optimizer.name2qmap["traced"] = (torch.empty(256, device="meta"), torch.empty(256, device="meta"))


def _moments(optimizer: Any, parameter: Any, recorder: Recorder) -> None:
    """Keeps bitsandbytes' moments, one or two: codes with a scale per 256, or float32 where they stay whole."""
    from bitsandbytes.optim.optimizer import Optimizer2State

    count, numbers = parameter.numel(), (1, 2) if isinstance(optimizer, Optimizer2State) else (1,)
    coded = optimizer.args.optim_bits == _CODE_BITS and count >= optimizer.args.min_8bit_size
    dtype = torch.uint8 if coded else torch.float32
    paged = optimizer.is_paged and count >= _PAGED_FROM
    with recorder.storing("optimizer_state", "host" if paged else "device"):
        state = {f"state{n}": torch.zeros_like(parameter, dtype=dtype) for n in numbers}
    if coded:
        blocks = -(-count // 256)
        state |= {f"absmax{n}": torch.zeros(blocks, device=parameter.device) for n in numbers}
    optimizer.state[parameter] = state
