"""A model's profile from its config alone: the task model is built on torch's meta device, without weights."""

from collections.abc import Sequence
from typing import Any

from autopeft.environment import remote_code_trusted
from autopeft.errors import ModelError, invalid
from autopeft.profiling.cache import load_profile, profile_path, save_value
from autopeft.profiling.code import NOTE
from autopeft.profiling.config import has_class, load_config
from autopeft.profiling.dimensions import sizes
from autopeft.profiling.shapes import module_shapes
from autopeft.profiling.source import ModelSource, find_model, fingerprint
from autopeft.tasks import TaskType, all_tasks, get_task
from autopeft.values.names import TASKS, ModelKind, Task
from autopeft.values.profiles import ModelProfile, ModuleShape

_ONE_OUTPUT: frozenset[Task] = frozenset({"regression", "multiple-choice"})
_BY_KIND: dict[ModelKind, Task] = {"encoder": "classification", "decoder": "generation", "seq2seq": "seq2seq"}
DEFAULT_LABELS = 2
"""Labels assumed where no data says how many there are."""


def read_model(source: str, task: Task, labels: int = DEFAULT_LABELS) -> ModelProfile:
    """Returns a model's structure as the task's class builds it, read from its config; no weights are loaded.

    A profile is kept on disk: the second call for the same config imports neither torch nor transformers.

    Args:
        source: a local folder (``config.json`` is enough), a hub name or a ``.gguf`` file.
        task: decides the class, and with it the head.
        labels: number of labels, for tasks that have them; others ignore it.

    Raises:
        ModelError: the model is not there, is corrupted, is of an unknown type, or has no head for the task.
        InvalidValueError: there is no such task, or fewer than one label.
    """
    if labels < 1:
        raise invalid("labels", "the task", "at least 1", labels)
    task_type = get_task(task)
    outputs = _outputs(task_type, labels)
    found = find_model(source)
    path = profile_path(found, task, outputs)
    kept = load_profile(path, found)
    if kept is not None:
        return kept
    profile = _build(found, task_type, outputs)
    save_value(path, profile)
    return profile


def default_task(source: str) -> Task:
    """Returns the task assumed for a model without data: classification, generation or seq2seq by its kind.

    Raises:
        ModelError: as `read_model`.
    """
    found = find_model(source)
    for task in _BY_KIND.values():
        kept = load_profile(profile_path(found, task, _outputs(get_task(task), DEFAULT_LABELS)), found)
        if kept is not None:
            return _BY_KIND[kept.kind]
    return _BY_KIND[model_kind(load_config(found))]


def _outputs(task: TaskType, labels: int) -> int:
    """Returns the size of the task's output layer, 0 where it has none."""
    return labels if task.has_labels else int(task.name in _ONE_OUTPUT)


def _build(source: ModelSource, task: TaskType, outputs: int) -> ModelProfile:
    config = load_config(source)
    kind = model_kind(config)
    known = all_tasks()
    tasks = tuple(t for t in TASKS if t in known and has_class(config, known[t].auto_class.get(kind)))
    if task.name not in tasks:
        raise ModelError(_no_head(source.name, config, task.name, tasks))
    if outputs and task.name != "multiple-choice":
        config.num_labels = outputs
    model = _on_meta(source.name, config, task.auto_class[kind])
    modules = module_shapes(model, kind, fresh_head=task.fresh_head)
    return ModelProfile(
        source=source.name, fingerprint=fingerprint(config.to_diff_dict()) if source.gguf else source.identity,
        model_type=config.model_type, architecture=type(model).__name__, kind=kind, tasks=tasks,
        parameters=sum(module.parameters for module in modules), **sizes(config, model, modules),
        weight_bytes=source.weight_bytes, weight_format=source.weight_format, task=task.name, labels=outputs,
        modules=modules, notes=(*_notes(config, modules), *((NOTE,) if source.own_code else ())),
        own_code=source.own_code,
    )  # fmt: skip


def _on_meta(name: str, config: Any, auto_class: str) -> Any:
    import torch
    import transformers

    try:
        with torch.device("meta"):
            return getattr(transformers, auto_class).from_config(config, trust_remote_code=remote_code_trusted())
    except (OSError, ImportError, ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        # Architectures check their sizes in their own code, each with its own exception.
        raise ModelError(f"config.json of {name} describes no model that can be built: {error}") from error


def model_kind(config: Any) -> ModelKind:
    """Returns what kind of architecture a transformers config describes."""
    if getattr(config, "is_encoder_decoder", False):
        return "seq2seq"
    masked = has_class(config, "AutoModelForMaskedLM") and not getattr(config, "is_decoder", False)
    causal = has_class(config, "AutoModelForCausalLM")
    return "decoder" if causal and not masked else "encoder"


def _no_head(name: str, config: Any, task: Task, tasks: Sequence[Task]) -> str:
    known = f"It has one for {', '.join(tasks)}." if tasks else "It has none for any task; choose another model."
    return f"The architecture {config.model_type!r} of {name} has no head for the task {task!r}.\n{known}"


def _notes(config: Any, modules: Sequence[ModuleShape]) -> tuple[str, ...]:
    notes = []
    if getattr(config, "quantization_config", None) is not None:
        notes.append("The weights are stored quantized; a scheme of autopeft needs the unquantized model.")
    repeats = getattr(config, "num_hidden_layers", 0)
    owned = 1 + max((module.layer for module in modules if module.layer is not None), default=-1)
    if owned and not getattr(config, "is_encoder_decoder", False) and repeats > owned:
        notes.append(f"{repeats} layers run over the weights of {owned}.")
    if any(module.name.endswith(".experts") for module in modules):
        notes.append("Its experts are stacked in one parameter each, which adapters of linear modules do not reach.")
    return tuple(notes)
