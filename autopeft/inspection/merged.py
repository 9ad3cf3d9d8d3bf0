"""The update of an adapter that is more than pairs of factors: what merging it changes in its base's weights."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autopeft.errors import ModelError, first_line
from autopeft.inspection.folder import Adapter, Pair
from autopeft.methods import get_method
from autopeft.profiling.source import find_model
from autopeft.training.base import location
from autopeft.tuned import TunedConfig

TINY = 1e-3
"""Directions below this share of the largest are rounding, and are left out of a merged update."""

_CLASSES = {
    "CAUSAL_LM": "AutoModelForCausalLM", "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification", "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
}  # fmt: skip


_NAMING = ("megatron_config", "adapters")
"""Settings by which an adapter's config has peft import a module that it names, or read other adapters' folders."""


class UnmergeableError(ModelError):
    """An adapter's update cannot be had by merging: the message says why."""


def merged_pairs(folder: Path, adapter: Adapter, base: str | None) -> Iterator[Pair]:
    """Yields, for each weight of the base that merging changes, its difference as a pair of factors.

    Both models are loaded in float32 on the CPU. Task heads are left out: they are new, not updated.

    Args:
        folder: the adapter's.
        adapter: what lies in it.
        base: the base model's folder or name; None for the one that the adapter names.

    Raises:
        UnmergeableError: the base is not here, or the method does not merge.
    """
    made = _ours if (folder / "tuned.yaml").is_file() else _peft
    before, after, heads = made(folder, adapter, base)
    changed = 0
    for name, old in before.items():
        new = after.get(name)
        if new is None or new.shape != old.shape or not old.is_floating_point() or name.startswith(heads):
            continue
        change = new.float() - old.float()
        if old.ndim >= 2 and bool(change.any()):
            changed += 1
            for part, matrix in _matrices(name, change):
                yield factors(part, matrix.double().numpy())
    if not changed:
        raise UnmergeableError("Merging changes no matrix of the base: its other tensors, if any, have norms.")


def _matrices(name: str, change: Any) -> Iterator[tuple[str, Any]]:
    """Yields a weight's change as matrices: a kernel as one, a stack of experts as one for each that changed."""
    if change.ndim == 2 or name.endswith(".weight"):
        yield name.removesuffix(".weight"), change.flatten(1)
        return
    for number, matrix in enumerate(change):
        if bool(matrix.any()):
            yield f"{name}[{number}]", matrix.flatten(1)


def factors(name: str, change: Any) -> Pair:
    """Returns a matrix as up · down over its singular directions, those that rounding explains left out.

    Its Gram matrix gives half the digits of a decomposition, which is below what merging in float32 leaves, in a
    fraction of the time.
    """
    import numpy as np

    wide = change.shape[1] > change.shape[0]
    tall = change.T if wide else change
    squares, directions = np.linalg.eigh(tall.T @ tall)
    kept = squares > TINY**2 * squares.max()
    right = directions[:, kept]
    left = tall @ right
    return (
        Pair(name=name, down=left.T, up=right, scale=1.0) if wide else Pair(name=name, down=right.T, up=left, scale=1.0)
    )


Models = tuple[Mapping[str, Any], Mapping[str, Any], tuple[str, ...]]
"""Weights of the base, weights with the update merged in, and the names that task heads begin with."""


def _ours(folder: Path, adapter: Adapter, base: str | None) -> Models:
    del adapter
    tuned = TunedConfig.load(folder / "tuned.yaml")
    # In the dtype of its training an update of few digits would drown in the rounding of the weights it is added to.
    tuned = replace(tuned, candidate=replace(tuned.candidate, dtype="float32"))
    if base is not None:
        tuned = replace(tuned, model=replace(tuned.model, source=base))
    method = get_method(tuned.candidate.method)
    if method.merge is None:
        raise UnmergeableError(f"{method.title} does not merge.")
    before = _own_base(tuned)
    attached, _ = tuned.load_trained(folder, device="cpu", quantized=False)
    return before, method.merge(attached).state_dict(), tuple(tuned.setup().model.head_modules)


def _own_base(tuned: TunedConfig) -> Mapping[str, Any]:
    """Returns the weights of a config's base.

    Raises:
        UnmergeableError: the model, or its weights, are not here.
        ModelError: what is here is another model.
    """
    source = tuned.model.source
    try:
        find_model(source)
    except ModelError as error:
        raise _unloadable(source, error) from error
    tuned.setup()
    try:
        weights: Mapping[str, Any] = tuned.load_base(device="cpu", quantized=False).model.state_dict()
    except ModelError as error:
        raise _unloadable(source, error) from error
    return weights


def _unloadable(source: str, error: Exception) -> UnmergeableError:
    return UnmergeableError(f"The base model {source!r} cannot be loaded: {first_line(error)}")


def _peft(folder: Path, adapter: Adapter, base: str | None) -> Models:
    import peft

    if not adapter.config.get("peft_type"):
        raise UnmergeableError("The folder has neither tuned.yaml nor a config of peft's.")
    known = peft.PEFT_TYPE_TO_CONFIG_MAPPING
    if adapter.kind not in known:
        raise UnmergeableError(f"peft {peft.__version__} has no {adapter.kind}.")
    if named := [key for key in _NAMING if adapter.config.get(key)]:
        raise UnmergeableError(f"Its config names other files or modules ({', '.join(named)}), which are not opened.")
    if peft.PeftConfig.from_pretrained(str(folder)).is_prompt_learning:
        raise UnmergeableError(f"{adapter.kind} puts vectors before the input, which changes no weight.")
    source = base or str(adapter.config.get("base_model_name_or_path") or "")
    load = _loader(adapter, source)
    before = load().state_dict()
    try:
        attached = peft.PeftModel.from_pretrained(load(), str(folder))
    except (ValueError, RuntimeError) as error:  # no such modules, or of other sizes
        said = f"The adapter in {folder} is not one of the base model {source!r}: {first_line(error)}"
        raise ModelError(said) from error
    merge = getattr(attached.base_model, "merge_and_unload", None)
    if merge is None:
        raise UnmergeableError(f"peft does not merge {adapter.kind}.")
    try:
        merged = merge()
    except NotImplementedError as error:
        raise UnmergeableError(f"peft does not merge this {adapter.kind}: {error}") from error
    return before, merged.state_dict(), tuple(adapter.config.get("modules_to_save") or ())


def _loader(adapter: Adapter, source: str) -> Callable[[], Any]:
    """Returns what loads the base for the adapter's task."""
    import transformers

    # Without a task type peft notes the class that it was attached to.
    named = str((adapter.config.get("auto_mapping") or {}).get("base_model_class"))
    auto = getattr(transformers, _CLASSES.get(str(adapter.config.get("task_type")), named), transformers.AutoModel)
    labels = _labels(adapter)
    where, options = location(source)
    if labels:
        options["num_labels"] = labels

    def load() -> Any:
        try:
            return auto.from_pretrained(where, dtype="float32", **options)
        except (OSError, ValueError) as error:
            raise _unloadable(source, error) from error

    return load


def _labels(adapter: Adapter) -> int:
    """Returns how many outputs the saved task head has, 0 where there is none: its last layer has the fewest."""
    heads = adapter.config.get("modules_to_save") or ()
    rows = [
        len(tensor)
        for name, tensor in adapter.others.items()
        if tensor.ndim == 2 and re.search(rf"\.({'|'.join(map(re.escape, heads))})\.", name)
    ]
    return min(rows) if heads and rows else 0
