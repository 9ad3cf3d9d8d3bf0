"""What the methods that peft lacks share: attaching to the model itself, its head, detaching, saving and loading.

The model stays the same object: apart from what a method adds, every module keeps its class and its name. What has
to come back at `detach` is remembered beside the model, in no module of its own.
"""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopeft.errors import ModelError
from autopeft.files import parse, plain, read_json, to_json, write_text
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

SCHEMA_VERSION = 1
WEIGHTS_FILE = "trained.safetensors"
FACTS_FILE = "trained.json"
_MEMORY = "autopeft_attachment"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What stands beside saved weights: what they were trained as."""

    schema_version: int
    method: str
    parameters: dict[str, ParameterValue]
    layers: str
    layer_indices: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """What an attached model remembers.

    Attributes:
        saved: what `save` writes beside the weights.
        trainable: names of the parameters that were trainable before.
        heads: the original head modules by name, untouched while their copies train.
        remove: takes out what the method added.
    """

    saved: Saved
    trainable: frozenset[str]
    heads: dict[str, Any]
    remove: Callable[[], None]


def widen(parameters: Iterable[Any]) -> None:
    """Makes parameters of float16 float32, in place: gradients in float16 overflow unscaled, and none unscales them."""
    import torch

    for parameter in parameters:
        if parameter.dtype == torch.float16:
            parameter.data = parameter.data.float()


def attach(model: Any, setup: Setup, add: Callable[[Any], tuple[Iterable[Any], Callable[[], None]]]) -> Any:
    """Returns the model with a method attached, only its parameters and a copy of the head trainable.

    Args:
        model: the task model; it is changed in place.
        setup: what to attach; the caller has refused what is illegal.
        add: adds the method's modules to the model, all frozen by then, and returns the parameters to train and
            what takes the modules out again.

    Raises:
        ModelError: a method is attached already.
    """
    if hasattr(model, _MEMORY):
        raise ModelError("The model has a method attached already; detach it first.")
    trainable = frozenset(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    heads = {name: getattr(model, name) for name in setup.model.head_modules}
    model.requires_grad_(requires_grad=False)
    parameters, remove = add(model)
    for parameter in parameters:
        parameter.requires_grad_(requires_grad=True)
    for name, head in heads.items():
        trained = copy.deepcopy(head).requires_grad_(requires_grad=True)
        widen(trained.parameters())
        setattr(model, name, trained)
    setattr(model, _MEMORY, Attachment(saved=_saved(setup), trainable=trainable, heads=heads, remove=remove))
    return model


def remember(model: Any, setup: Setup) -> None:
    """Notes on a model that something else attached to what `save` writes beside its weights."""
    memory = Attachment(saved=_saved(setup), trainable=frozenset(), heads={}, remove=_nothing)
    setattr(model, _MEMORY, memory)


def _nothing() -> None:
    """Takes nothing out."""


def _saved(setup: Setup) -> Saved:
    candidate = setup.candidate
    return Saved(
        schema_version=SCHEMA_VERSION, method=candidate.method, parameters=dict(candidate.parameters),
        layers=candidate.layers, layer_indices=candidate.layer_indices,
    )  # fmt: skip


def _attachment(model: Any) -> Attachment:
    found = getattr(model, _MEMORY, None)
    if not isinstance(found, Attachment):
        raise ModelError("The model has no method attached.")
    return found


def detach(model: Any) -> Any:
    """Returns the model without the method, its head and `requires_grad` as before.

    Base weights that the method trained keep their values.

    Raises:
        ModelError: no method is attached.
    """
    for name, head in _attachment(model).heads.items():
        setattr(model, name, head)
    return keep(model)


def keep(model: Any) -> Any:
    """Returns the model without what was added, but with the trained head, in the dtype of the original.

    Where the method trains the model's own weights, this is the result to deploy.

    Raises:
        ModelError: no method is attached.
    """
    memory = _attachment(model)
    memory.remove()
    for name, head in memory.heads.items():
        for trained, original in zip(getattr(model, name).parameters(), head.parameters(), strict=True):
            trained.data = trained.data.to(original.dtype)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(requires_grad=name in memory.trainable)
    delattr(model, _MEMORY)
    return model


def refuse_quantized_merge(model: Any) -> None:
    """Lets a model pass whose weights can take an update.

    Raises:
        ModelError: the base is quantized.
    """
    if getattr(model, "is_quantized", False):
        raise ModelError(
            "The base is quantized, and merging would round the update to its codes.\n"
            "Load the base without quantization, load the saved adapter into it, and merge there."
        )


def no_peft_config(_setup: Setup) -> None:
    """Returns None: the method is not peft's."""


def save(model: Any, folder: Path) -> None:
    """Writes what is trainable, head included, under its names in the attached model, and what it was trained as.

    Raises:
        ModelError: no method is attached.
        OSError: the folder cannot be written.
    """
    from safetensors.torch import save_file

    saved = _attachment(model).saved
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{WEIGHTS_FILE}"
    save_file({name: p.detach().cpu().contiguous() for name, p in _trainable(model).items()}, partial)
    partial.replace(folder / WEIGHTS_FILE)
    write_text(folder / FACTS_FILE, to_json(plain(saved)) + "\n")


def _trainable(model: Any) -> dict[str, Any]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def load_into(model: Any, folder: Path) -> Any:
    """Returns an attached model with the values that `save` wrote, ready to train on.

    Raises:
        ModelError: the weights are missing, or are another method's, or differ in a name or a shape.
        FileFormatError: the description beside the weights is missing or malformed.
    """
    import torch
    from safetensors.torch import load_file

    _check_facts(_attachment(model).saved, folder)
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise ModelError(f"{path} does not exist: the folder holds no saved method.")
    stored, wanted = load_file(path), _trainable(model)
    _check_tensors(path, stored, wanted)
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(stored[name])
    return model


def _check_facts(wanted: Saved, folder: Path) -> None:
    path = folder / FACTS_FILE
    stored = parse(Saved, read_json(path), str(path))
    for key, value in vars(wanted).items():
        found = getattr(stored, key)
        if found != value:
            raise ModelError(f"`{key}` of {path} must be {value!r}, as the setup has it; got {found!r}.")


def _check_tensors(path: Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    missing, extra = sorted(set(wanted) - set(stored)), sorted(set(stored) - set(wanted))
    if missing:
        raise ModelError(f"{path} lacks {missing[0]}, which the attached method trains.")
    if extra:
        raise ModelError(f"{path} holds {extra[0]}, which the attached method does not train.")
    for name, parameter in wanted.items():
        if stored[name].shape != parameter.shape:
            shapes = f"{tuple(parameter.shape)}; got {tuple(stored[name].shape)}"
            raise ModelError(f"{name} of {path} must have the shape {shapes}.")
