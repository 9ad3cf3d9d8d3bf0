"""What the contract observes: weights by hash, logits, losses of a few optimizer steps."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from autopeft.methods import Method
from autopeft.testing.cases import Case

STEPS = 3
LEARNING_RATE = 1e-2


class ContractError(AssertionError):
    """A method breaks a rule of the contract; the message says which and where."""


def require(holds: bool, sentence: str) -> None:  # noqa: FBT001
    """Passes when the rule holds.

    Raises:
        ContractError: it does not.
    """
    if not holds:
        raise ContractError(sentence)


def digest(tensor: Any) -> str:
    """Returns the SHA-256 of a tensor's bytes, dtype and shape."""
    import torch

    plain = tensor.detach().cpu().contiguous()
    content = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return hashlib.sha256(f"{plain.dtype}{tuple(plain.shape)}".encode() + content).hexdigest()


def digests(model: Any) -> dict[str, str]:
    """Returns the hash of every tensor of a model's state by name."""
    return {name: digest(tensor) for name, tensor in model.state_dict().items()}


def classes(model: Any) -> list[tuple[str, type]]:
    """Returns every module's name and class in the model's order."""
    return [(name, type(module)) for name, module in model.named_modules()]


def trainable_names(model: Any) -> set[str]:
    """Returns the names of the parameters that require gradients."""
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def trainable_count(model: Any) -> int:
    """Returns how many numbers the parameters that require gradients hold; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def tensors(model: Any) -> list[Any]:
    """Returns all that a model holds: parameters, buffers, and what its modules keep in dictionaries of their own."""
    from autopeft.estimation.tracing.loading import held_aside

    aside = (tensor for module in model.modules() for tensor in held_aside(module))
    return [*model.parameters(), *model.buffers(), *aside]


def frozen_beside(model: Any, base: Sequence[Any]) -> int:
    """Returns the bytes of what a model holds and does not train, the storages of the base's tensors left out."""
    known = {tensor.untyped_storage().data_ptr() for tensor in base}
    frozen = [tensor.untyped_storage() for tensor in tensors(model) if not tensor.requires_grad]
    return sum({s.data_ptr(): s.nbytes() for s in frozen if s.data_ptr() not in known}.values())


def logits(model: Any, case: Case) -> Any:
    """Returns the model's logits on the case's batch without dropout; the model's mode is as before."""
    import torch

    training = model.training
    model.eval()
    with torch.no_grad():
        output = model(**case.batch()).logits
    model.train(training)
    return output


def attached(method: Method, case: Case, seed: int = 0) -> Any:
    """Returns a fresh model with the method attached, the random parts drawn from the seed."""
    return attach(method, case, case.build(), seed)


def attach(method: Method, case: Case, model: Any, seed: int = 0) -> Any:
    """Returns the model with the method attached as a run attaches it, started from data where it asks for some."""
    import torch

    torch.manual_seed(seed)
    model = method.apply(model, case.setup)
    if method.prepare is not None:
        method.prepare(model, case.setup, [case.batch()])
    return model


def train(method: Method, model: Any, case: Case, seed: int = 0, steps: int = STEPS) -> list[float]:
    """Trains on the case's batch and returns the loss of each step."""
    import torch

    torch.manual_seed(seed)
    model.train()
    trainable = [p for p in model.parameters() if p.requires_grad]
    # Decay would move what no gradient moves.
    optimizer = torch.optim.AdamW(trainable, lr=LEARNING_RATE, weight_decay=0.0)
    losses = []
    for step in range(1, steps + 1):
        loss = model(**case.batch()).loss
        loss.backward()
        optimizer.step()
        if method.after_step is not None:
            method.after_step(model, step)
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model after a few steps: hashes of its trainable parameters from before, and the loss of each step."""

    model: Any
    before: dict[str, str]
    losses: list[float]


def untouched(method: Method, case: Case) -> Any:
    """Returns `attached`, the same model to every check that asks in a row; it must only be looked at."""
    return _remembered("untouched", method, case, lambda: attached(method, case))


def trained(method: Method, case: Case) -> Trained:
    """Returns a model after training, the same one to every check that asks in a row; it must only be looked at."""
    return cast("Trained", _remembered("trained", method, case, lambda: _trained(method, case)))


def _trained(method: Method, case: Case) -> Trained:
    model = attached(method, case)
    before = {name: digest(p) for name, p in model.named_parameters() if p.requires_grad}
    return Trained(model=model, before=before, losses=train(method, model, case))


_LAST: dict[str, tuple[Method, Case, Any]] = {}
"""By kind, what was made last and what for: attaching and training cost more than all the looking."""


def _remembered(kind: str, method: Method, case: Case, make: Callable[[], Any]) -> Any:
    known = _LAST.get(kind)
    if known is None or known[0] is not method or known[1] is not case:
        _LAST.pop(kind, None)
        known = _LAST[kind] = (method, case, make())
    return known[2]


def generate(model: Any, case: Case) -> None:
    """Lets a language model write two tokens behind each row; does nothing for the other tasks."""
    if case.setup.task in ("generation", "seq2seq"):
        inputs = {key: value for key, value in case.batch().items() if key != "labels"}
        model.eval().generate(**inputs, max_new_tokens=2, do_sample=False)


def difference(left: Any, right: Any) -> float:
    """Returns the largest absolute difference of two tensors; infinite where their shapes differ."""
    return float((left - right).abs().max()) if left.shape == right.shape else float("inf")
