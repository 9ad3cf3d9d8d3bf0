"""A run's state in a file: tensors as safetensors, everything else as JSON in its header, no pickle."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from autopeft.files import flush
from autopeft.methods import get_method
from autopeft.training.run import RunState, TrainingRun

_TENSOR = "\u0000tensor"
_TUPLE = "\u0000tuple"
_TRAINED = "trained.safetensors"
_ITEMS = "\u0000items"


def save_state(state: RunState, path: Path) -> None:
    """Writes a state whole or not at all."""
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    # A copied dataclass would deep-copy every tensor: its fields are taken as they are.
    skeleton = _pack({field.name: getattr(state, field.name) for field in fields(state)}, tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    try:
        save_file(tensors, partial, metadata={"state": json.dumps(skeleton)})
        # A power cut must not leave a new name on contents that never reached the disk.
        flush(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def load_state(path: Path) -> RunState:
    """Returns the state that a file holds, its tensors on the CPU."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return RunState(**_unpack(json.loads(file.metadata()["state"]), tensors))


def save_trained(run: TrainingRun, folder: Path) -> None:
    """Writes what a run has trained, for `Worker.attached` to put back: as its method saves it, or whole where divided.

    All processes that train together must call it; the first one writes, and what it wrote is on the disk when it
    returns: what is noted of it later must not outlive it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if run.parallel.sharded:
        weights = run.weights()
        if run.parallel.rank == 0:
            from safetensors.torch import save_file

            save_file({str(place): value.contiguous() for place, value in enumerate(weights)}, folder / _TRAINED)
    elif run.parallel.rank == 0:
        get_method(run.candidate.method).save(run.model, folder)
    if run.parallel.rank == 0:
        for path in filter(Path.is_file, folder.rglob("*")):
            flush(path)


def load_trained(folder: Path) -> tuple[Any, ...]:
    """Returns the whole weights that `save_trained` wrote for a run that was divided."""
    from safetensors.torch import load_file

    tensors = load_file(folder / _TRAINED)
    return tuple(tensors[str(place)] for place in range(len(tensors)))


def _pack(value: Any, tensors: dict[str, Any]) -> Any:
    """Returns a value as JSON can hold it; its tensors go to ``tensors`` under numbers."""
    import torch

    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.contiguous()
        return {_TENSOR: name}
    if isinstance(value, dict):
        return {_ITEMS: [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [_pack(item, tensors) for item in value]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    return value


def _unpack(value: Any, tensors: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _TUPLE in value:
        return tuple(_unpack(item, tensors) for item in value[_TUPLE])
    return {key: _unpack(item, tensors) for key, item in value[_ITEMS]}
