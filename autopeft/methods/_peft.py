"""What the methods that peft has share: its task types, attaching, detaching, merging, saving and loading."""

import re
from pathlib import Path
from typing import Any

from autopeft.errors import ModelError
from autopeft.files import read_json, to_json, write_text
from autopeft.methods import _native
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import TASKS, ModelKind, ParameterValue, Task

ADAPTER = "default"
CONFIG_FILE = "adapter_config.json"
ALL_TASKS: tuple[Task, ...] = TASKS
ALL_KINDS: tuple[ModelKind, ...] = ("encoder", "decoder", "seq2seq")
_WITH_HEAD = {
    "classification": "SEQ_CLS", "regression": "SEQ_CLS", "pair-classification": "SEQ_CLS",
    "token-classification": "TOKEN_CLS",
}  # fmt: skip
_LANGUAGE = {"decoder": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM"}


def task_type(setup: Setup) -> str | None:
    """Returns peft's task type, None for multiple choice, for which peft has none."""
    if setup.task == "multiple-choice":
        return None
    return _WITH_HEAD.get(setup.task) or _LANGUAGE.get(setup.model.kind)


def head(setup: Setup) -> dict[str, Any]:
    """Returns the arguments of every peft config: its task type and the fresh head, which trains beside it."""
    return {"task_type": task_type(setup), "modules_to_save": list(setup.model.head_modules) or None}


def injected(setup: Setup) -> dict[str, Any]:
    """Returns the arguments of every config that injects layers: `head` and the full names of the targets."""
    return {**head(setup), "target_modules": [module.name for module in target_modules(setup)]}


def transposed(setup: Setup) -> bool:
    """Whether the targeted weights are stored input first, as GPT-2's are until bitsandbytes replaces them."""
    return setup.candidate.quantization == "none" and any(m.kind == "conv1d" for m in target_modules(setup))


def attach(model: Any, config: Any) -> Any:
    """Returns the task model with peft's method attached, only its parameters and the head's trainable."""
    from peft import get_peft_model

    before = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    hooked, dtypes = _input_hooks(model), {name: p.dtype for name, p in model.named_parameters(remove_duplicate=False)}
    attached = get_peft_model(model, config)
    # peft itself widens adapters, but not the copies that it makes of heads and norms.
    _native.widen(parameter for parameter in attached.parameters() if parameter.requires_grad)
    # What `detach` puts back, and `merge` returns to: peft freezes the base and leaves it frozen.
    attached.autopeft_before = {"trainable": before, "hooked": hooked, "dtypes": dtypes}
    return attached


def _input_hooks(model: Any) -> bool:
    return bool(getattr(model, "_require_grads_hooks", None))


def _restore(attached: Any, model: Any) -> Any:
    before = attached.autopeft_before
    trainable = set(before["trainable"])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trainable)
    if _input_hooks(model) and not before["hooked"]:
        model.disable_input_require_grads()
    return model


def detach(attached: Any) -> Any:
    """Returns the task model with the method taken out, its head and `requires_grad` as before."""
    model = attached.get_base_model()
    _unwrap(model)
    return _restore(attached, model)


def _unwrap(model: Any) -> None:
    # Not peft's own `unload`: it leaves the trained copy of the head in place, and for some methods refuses
    # a quantized base, although nothing is merged.
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import ModulesToSaveWrapper

    for name, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            _replace(model, name, module.original_module)
        elif isinstance(module, BaseTunerLayer):
            _replace(model, name, module.get_base_layer())
    # What peft leaves on the model itself: its config, and after generating behind a prompt a method.
    for left in ("peft_config", "prepare_inputs_for_generation"):
        vars(model).pop(left, None)


def _replace(model: Any, name: str, module: Any) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def merge(attached: Any) -> Any:
    """Returns the task model with the update folded into its weights and the trained head in place, in its dtypes.

    Raises:
        ModelError: the base is quantized.
    """
    _native.refuse_quantized_merge(attached.get_base_model())
    merged = attached.merge_and_unload()
    _unwrap_heads(merged)
    dtypes = attached.autopeft_before["dtypes"]
    for name, parameter in merged.named_parameters():
        parameter.data = parameter.data.to(dtypes.get(name, parameter.dtype))
    return merged


def _unwrap_heads(model: Any) -> None:
    # peft's merging of trained norms leaves the head in its wrapper.
    from peft.utils.other import ModulesToSaveWrapper

    for name, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            _replace(model, name, module.modules_to_save[ADAPTER])


def save(attached: Any, folder: Path) -> None:
    """Writes peft's own format: ``adapter_model.safetensors`` with the head, and ``adapter_config.json``."""
    attached.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    path = folder / CONFIG_FILE
    # peft writes sets, in an order that changes from run to run, and repeats the head's names.
    write_text(path, to_json({key: _stable(value) for key, value in sorted(read_json(path).items())}))


def _stable(value: Any) -> Any:
    names = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return sorted(set(value)) if names else value


def load_into(attached: Any, folder: Path) -> Any:
    """Returns an attached model with the values that `save` wrote, ready to train on.

    Raises:
        ModelError: the file is missing or holds other parameters than the attached ones.
    """
    from safetensors.torch import load_file

    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        raise ModelError(f"{path} does not exist: the folder holds no saved adapter.")
    return load_values(attached, load_file(path), path)


def load_values(attached: Any, values: dict[str, Any], path: Path) -> Any:
    """Returns an attached model with values under the names that peft saves them by.

    Raises:
        ModelError: they are other parameters than the attached ones; ``path`` is where they are from.
    """
    from peft import set_peft_model_state_dict

    try:
        result = set_peft_model_state_dict(attached, values, adapter_name=ADAPTER)
    except KeyError as error:  # of the task head, which peft looks up by name
        raise _foreign(path, f"lacks {error.args[0]}, which the attached method trains") from error
    except RuntimeError as error:
        # torch tells sizes that differ in no other way; a device's memory has nothing to do with it.
        differing = re.search(r"size mismatch for .*", str(error))
        if differing is None:
            raise
        raise _foreign(path, f"holds other sizes: {differing[0].rstrip('.')}") from error
    # A prompt is loaded apart, strictly, and peft still lists it on both sides.
    missing = {key for key in result.missing_keys if not key.startswith("prompt_encoder.")}
    lacking = sorted(min(names) for names in _trained_names(attached) if names <= missing)
    foreign = [key for key in result.unexpected_keys if key != "prompt_embeddings"]
    if lacking or foreign:
        lacks = f"lacks {lacking[0]}, which the attached method trains" if lacking else f"holds {foreign[0]} besides"
        raise _foreign(path, lacks)
    return attached


def _foreign(path: Path, what: str) -> ModelError:
    return ModelError(f"{path} {what}: it was saved from another model or with other parameters.")


def _trained_names(attached: Any) -> list[set[str]]:
    """Returns the names of each trained parameter: all of them, where layers share it and the file has it once."""
    names: dict[int, set[str]] = {}
    for name, parameter in attached.named_parameters(remove_duplicate=False):
        if parameter.requires_grad:
            names.setdefault(id(parameter), set()).add(name)
    return list(names.values())


def layers(attached: Any, kind: type) -> list[Any]:
    """Returns the injected layers of a kind.

    Raises:
        ModelError: there is none: the method did not take effect.
    """
    found = [module for module in attached.modules() if isinstance(module, kind)]
    if not found:
        raise ModelError(f"The model has no {kind.__name__}: the method did not take effect.")
    return found


def shared(key: str, values: list[ParameterValue]) -> ParameterValue:
    """Returns the value that all injected layers have; whole numbers as integers.

    Raises:
        ModelError: they disagree.
    """
    first, *others = values
    if any(value != first for value in others):
        raise ModelError(f"`{key}` differs between the injected layers: {sorted(set(map(str, values)))}.")
    return int(first) if isinstance(first, float) and first.is_integer() and key != "dropout" else first


def dropout_of(module: Any) -> float:
    """Returns the rate of a dropout layer; 0 for the identity that peft puts where there is none."""
    return float(getattr(module, "p", 0.0))
