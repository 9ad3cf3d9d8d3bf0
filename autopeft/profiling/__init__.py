"""Hardware, model and task, profiled before anything is trained."""

from collections.abc import Mapping
from dataclasses import dataclass

from autopeft.errors import invalid
from autopeft.values.names import Task
from autopeft.values.profiles import HardwareProfile, ModelProfile, TaskProfile

__all__ = ["Profile", "profile"]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What is known before anything is trained; ``model`` and ``task`` are None where none was named."""

    hardware: HardwareProfile
    model: ModelProfile | None = None
    task: TaskProfile | None = None


def profile(
    model: str | None = None,
    data: str | None = None,
    *,
    task: str | None = None,
    columns: Mapping[str, str] | None = None,
    gpu: str | None = None,
    memory_bytes: int | None = None,
    measure: bool = False,
) -> Profile:
    """Returns the profile of the hardware and, where they are named, of a model and of data.

    The model is built for the data's task and labels. Without data it is built for ``task``, which by default
    is classification for an encoder, generation for a decoder and seq2seq for an encoder-decoder.

    Args:
        model: a folder (``config.json`` is enough without data), a hub name or a GGUF file.
        data: a file, a folder or a hub name.
        task: the task type, detected by default.
        columns: column by role, such as ``{"text": "review"}``, detected by default.
        gpu: a card of the catalogue to plan for instead of this machine.
        memory_bytes: plan as if the device had this much memory.
        measure: time the device.

    Raises:
        AutopeftError: the card, the model or the data is not what it should be.
    """
    from autopeft.profiling.hardware import probe_hardware
    from autopeft.tasks import get_task

    named = None if task is None else get_task(task).name
    if named and model is None and data is None:
        raise invalid("--task", "a profile", "left out where there is neither a model nor data", task)
    if columns and data is None:
        raise invalid("--column", "a profile", "left out where there is no data", dict(columns))
    hardware = probe_hardware(gpu=gpu, memory_bytes=memory_bytes, measure=measure)
    if data is not None:
        return _with_data(hardware, model, data, named, columns)
    if model is None:
        return Profile(hardware=hardware)
    from autopeft.profiling.model import default_task, read_model

    return Profile(hardware=hardware, model=read_model(model, named or default_task(model)))


def _with_data(
    hardware: HardwareProfile, model: str | None, data: str, task: Task | None, columns: Mapping[str, str] | None
) -> Profile:
    from autopeft.data import load_data
    from autopeft.profiling.task import describe_task

    loaded = load_data(data, task=task, columns=columns)
    if model is None:
        return Profile(hardware=hardware, task=describe_task(loaded, None))
    from autopeft.profiling.model import read_model
    from autopeft.profiling.tokenizer import load_tokenizer

    read = read_model(model, loaded.spec.task, max(1, len(loaded.spec.labels)))
    return Profile(hardware=hardware, model=read, task=describe_task(loaded, load_tokenizer(model)))
