"""The contract that every method must pass, one function per rule; usable for methods of your own.

A check takes a method, most of them a `Case` too, and raises `ContractError` with a sentence that says what
is broken. ``FACTS`` look at the declaration alone; ``CHECKS`` try the method on a model.
"""

import math
import tempfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from autopeft import resources
from autopeft.errors import InvalidValueError
from autopeft.estimation import estimate
from autopeft.files import read_yaml
from autopeft.methods import Method, all_methods
from autopeft.testing._observe import (
    ContractError,
    attach,
    attached,
    classes,
    difference,
    digest,
    digests,
    frozen_beside,
    generate,
    logits,
    require,
    tensors,
    train,
    trainable_count,
    trainable_names,
    trained,
    untouched,
)
from autopeft.testing.cases import HARDWARE, TOKENS, Case, altered
from autopeft.testing.memory import check_memory_estimate
from autopeft.training.base import copy_weights, fingerprint, restore_weights
from autopeft.values.names import MODEL_KINDS, TASKS

__all__ = ["CHECKS", "FACTS", "ContractError", "check", "check_facts", "check_memory_estimate"]

IDENTITY_TOLERANCE = 1e-5
MERGE_TOLERANCE = 1e-5
LOAD_TOLERANCE = 1e-5
_UNDECLARED = 1024
"""Bytes that stand frozen and need no declaration: the numbers of a prompt's tokens, for one."""
PEFT_CONFIG = "adapter_config.json"
"""The file by which peft knows a folder that it can load."""


def check_declared_facts(method: Method) -> None:
    """What a method declares is complete: words, paper, tasks, models, seeds with a source."""
    name, able = method.name, method.capabilities
    require(name.isidentifier() and name == name.lower(), f"The name {name!r} must be snake_case.")
    empty = [f.name for f in fields(method) if getattr(method, f.name) == ""]
    require(not empty, f"{name} leaves {', '.join(empty)} empty.")
    paper = method.paper
    require(bool(paper.title) and paper.address.startswith("https://"), f"{name} must name its paper and its address.")
    require(bool(able.tasks) and set(able.tasks) <= set(TASKS), f"{name} must claim known task types.")
    require(bool(able.models) and set(able.models) <= set(MODEL_KINDS), f"{name} must claim known kinds of model.")
    require(bool(method.seeds), f"{name} must give a configuration from the literature to start from.")
    require(all(seed.source for seed in method.seeds), f"A seed of {name} has no source.")
    require((method.merge is not None) == able.mergeable, f"{name} must have `merge` exactly where it is mergeable.")


def check_seeds_are_legal(method: Method) -> None:
    """Seeds and baselines lie inside the method's own domain and learning-rate range."""
    for seed in (*method.seeds, *method.baseline.values()):
        require(
            set(seed.parameters) == set(method.legal),
            f"A seed of {method.name} gives {sorted(seed.parameters)}; it must give {sorted(method.legal)}.",
        )
        for key, value in seed.parameters.items():
            require(_inside(method.legal[key], value), f"{method.name}: `{key}` = {value!r} of a seed is not legal.")
        rate = seed.learning_rate
        require(_inside(method.learning_rate, rate), f"{method.name}: a seed's learning rate {rate} is out of range.")


def check_default_range(method: Method) -> None:
    """The range searched by default names every parameter and lies inside the legal domain.

    Only the catalogue's methods have a file for it; of another all that is legal is searched.
    """
    path = resources.search_spaces() / f"{method.name}.yaml"
    if method.name not in all_methods() and not path.is_file():
        return
    space = read_yaml(path)
    require(space["method"] == method.name, f"{path.name} is for {space['method']!r}, not for {method.name!r}.")
    entries = space.get("parameters") or {}
    require(
        set(entries) == set(method.legal),
        f"{path.name} searches {sorted(entries)}; {method.name} has {sorted(method.legal)}.",
    )
    for key, entry in entries.items():
        for value in _ends(entry):
            require(_inside(method.legal[key], value), f"{path.name}: `{key}` = {value!r} is not legal.")
    for rate in _ends(space["learning_rate"]):
        require(_inside(method.learning_rate, rate), f"{path.name}: the learning rate {rate} is out of range.")
    takes = method.capabilities.takes_targets
    require(
        (space["targets"] == ["none"]) != takes, f"{path.name}: targets must be [none] exactly where none are taken."
    )


def _ends(entry: dict[str, Any]) -> list[Any]:
    return list(entry["choices"]) if "choices" in entry else [entry["low"], entry["high"]]


def _inside(domain: Any, value: Any) -> bool:
    # The same test that optuna applies to a suggested value, without rounding to a step.
    try:
        internal = domain.to_internal_repr(value)
    except ValueError:
        return False
    return bool(domain._contains(internal))


def check_violations_match_apply(method: Method, case: Case) -> None:
    """`violations` is empty exactly when `apply` succeeds and the model then trains."""
    sentences = method.violations(case.setup)
    blank = [s for s in sentences if not s.strip()]
    require(not blank, f"{case.name}: a violation must be a sentence.")
    if sentences:
        _refused(method, case, sentences)
        return
    try:
        model = attached(method, case)
        losses = train(method, model, case, steps=1)
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError, NotImplementedError) as error:
        raise ContractError(f"{case.name}: no violation was said, but it fails with {error!r}.") from error
    require(math.isfinite(losses[0]), f"{case.name}: no violation was said, but the loss is {losses[0]}.")


def _refused(method: Method, case: Case, sentences: tuple[str, ...]) -> None:
    try:
        method.apply(case.build(), case.setup)
    except InvalidValueError:
        return
    raise ContractError(f"{case.name}: violations are {sentences}, but `apply` did not refuse.")


def check_effective_parameters(method: Method, case: Case) -> None:
    """The parameters read from the injected modules are the requested ones."""
    effective, asked = method.effective(untouched(method, case)), dict(case.setup.candidate.parameters)
    require(set(effective) == set(asked), f"{case.name}: took effect {effective}, asked for {asked}.")
    for key, value in asked.items():
        same = math.isclose(effective[key], value, rel_tol=1e-5) if _is_number(value) else effective[key] == value  # type: ignore[arg-type]
        require(same, f"{case.name}: `{key}` = {value!r} was asked for, {effective[key]!r} took effect.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_trainable_count(method: Method, case: Case) -> None:
    """`trainable` is exactly what the attached model trains, the task head left out."""
    counted = trainable_count(untouched(method, case)) - case.setup.model.head_parameters
    declared = method.trainable(case.setup)
    require(counted == declared, f"{case.name}: `trainable` says {declared}, the model trains {counted}.")


def check_estimate_counts_what_trains(method: Method, case: Case) -> None:
    """The estimate's trained parameters, task head included, are exactly those of the attached model."""
    if method.name not in all_methods():
        return  # an estimate finds methods by name
    counted = trainable_count(untouched(method, case))
    expected = estimate(case.setup, tokens_per_row=TOKENS, hardware=HARDWARE).trainable_parameters
    require(counted == expected, f"{case.name}: the estimate says {expected}, the model trains {counted}.")


def check_held_is_what_stands_frozen(method: Method, case: Case) -> None:
    """`held` is what the attached model holds beside the base and does not train, to 1 KiB."""
    base = case.build()
    own = tensors(base)
    found, declared = frozen_beside(attach(method, case, base), own), method.held(case.setup)
    require(
        abs(found - declared) <= _UNDECLARED,
        f"{case.name}: `held` says {declared} bytes, {found} stand frozen beside the base.",
    )


def check_only_declared_parameters_train(method: Method, case: Case) -> None:
    """Optimizer steps leave every base weight bit-identical, unless the method declares that it changes the base."""
    model = case.build()
    heads = case.setup.model.head_modules
    base = {n: t for n, t in model.state_dict(keep_vars=True).items() if n.split(".")[0] not in heads}
    before = {name: digest(tensor) for name, tensor in base.items()}
    model = attach(method, case, model)
    at_start = {name: digest(tensor) for name, tensor in base.items() if not tensor.requires_grad}
    train(method, model, case)
    after = {name: digest(tensor) for name, tensor in base.items()}
    changed = {name for name in base if after[name] != before[name]}
    worn = sorted(name for name in at_start if after[name] != at_start[name])
    if method.capabilities.changes_base:
        require(bool(changed), f"{case.name}: the method declares that it changes the base, but it did not.")
        require(not worn, f"{case.name}: {worn[:1]} is frozen, but training changed it.")
    else:
        require(not changed, f"{case.name}: training changed the base weight {sorted(changed)[:1]}.")


def check_base_comes_back(method: Method, case: Case) -> None:
    """Where the base changes, a copy written back in place after `detach` restores every bit, proven by hash."""
    if not method.capabilities.changes_base:
        return
    model = case.build()
    before, copied = fingerprint(model), copy_weights(model)
    model = attach(method, case, model)
    train(method, model, case)
    restored = method.detach(model)
    restore_weights(restored, copied)
    require(fingerprint(restored) == before, f"{case.name}: the base, restored from a copy, is not what it was.")


def check_gradients_reach_everything(method: Method, case: Case) -> None:
    """After a few steps every trainable tensor has moved: none is trainable in name only."""
    seen, model = trained(method, case), case.setup.model
    after = dict(seen.model.named_parameters())
    # With absolute positions a constant added to every key cancels out in the softmax: it can learn nothing.
    idle = [f"{m.name}." for m in model.modules if m.role == "key" and model.kind == "encoder"]
    moving = [name for name in seen.before if not any(key in name for key in idle)]
    still = sorted(name for name in moving if digest(after[name]) == seen.before[name])
    require(not still, f"{case.name}: {still[:1]} is trainable, but three steps left it as it was.")


def check_detach_restores(method: Method, case: Case) -> None:
    """After training, generating and `detach` the task model is the original: modules, weights, `requires_grad`."""
    original = case.build()
    weights, modules, trainable = digests(original), classes(original), trainable_names(original)
    model = attached(method, case)
    train(method, model, case)
    generate(model, case)
    restored = method.detach(model)
    require(classes(restored) == modules, f"{case.name}: `detach` leaves other modules than the original's.")
    require(trainable_names(restored) == trainable, f"{case.name}: `detach` leaves `requires_grad` changed.")
    replaced = sorted(key for key, value in vars(restored).items() if callable(value) and key not in vars(original))
    require(not replaced, f"{case.name}: `detach` leaves a method of the model replaced: {replaced}.")
    now = digests(restored)
    require(list(now) == list(weights), f"{case.name}: `detach` leaves other weights by name than the original's.")
    changed = [name for name in weights if weights[name] != now[name]]
    if not method.capabilities.changes_base:
        require(not changed, f"{case.name}: `detach` leaves {changed[:1]} changed.")


def check_reattaches(method: Method, case: Case) -> None:
    """A method can be attached again after `detach`, with the same result as on a fresh model."""
    if method.capabilities.changes_base:
        return
    model = attached(method, case)
    fresh = train(method, model, case)
    again = train(method, attach(method, case, method.detach(model)), case)
    require(again == fresh, f"{case.name}: attached a second time it trains differently: {again} after {fresh}.")


def check_identity_at_start(method: Method, case: Case) -> None:
    """The output is unchanged by attaching, where the method claims it."""
    if method.capabilities.identity_at_start:
        apart = difference(logits(case.build(), case), logits(untouched(method, case), case))
        require(
            apart <= IDENTITY_TOLERANCE,
            f"{case.name}: attaching changes the logits by {apart:.2e}, identity is claimed.",
        )


def check_save_and_load(method: Method, case: Case) -> None:
    """What `save` writes gives the same logits when loaded into a fresh model, in safetensors."""
    model = trained(method, case).model
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        method.save(model, folder)
        first = _contents(folder)
        method.save(model, folder)
        require(_contents(folder) == first, f"{case.name}: saving the same model again writes other bytes.")
        suffixes = {path.suffix for path in folder.iterdir()}
        require(".safetensors" in suffixes, f"{case.name}: `save` must write safetensors.")
        require(not suffixes & {".bin", ".pt", ".pkl"}, f"{case.name}: `save` must not write pickles.")
        loaded = method.load(case.build(), case.setup, folder)
    apart = difference(logits(model, case), logits(loaded, case))
    require(apart <= LOAD_TOLERANCE, f"{case.name}: the loaded model's logits differ by {apart:.2e}.")
    require(bool(trainable_names(loaded)), f"{case.name}: the loaded model has nothing left to train.")


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def check_loads_in_plain_peft(method: Method, case: Case) -> None:
    """What `save` writes in peft's format, peft alone loads onto the unchanged base, with the same logits."""
    from peft import PeftConfig, PeftModel

    model = trained(method, case).model
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        method.save(model, folder)
        if not (folder / PEFT_CONFIG).exists():
            return
        # Trainable, because AdaLoRA as peft loads it for inference alone cannot take labels; prompts peft refuses so.
        prompt = PeftConfig.from_pretrained(name).is_prompt_learning
        plain = PeftModel.from_pretrained(case.build(), name, is_trainable=not prompt)
    apart = difference(logits(model, case), logits(plain, case))
    require(apart <= LOAD_TOLERANCE, f"{case.name}: loaded by peft alone, the logits differ by {apart:.2e}.")


def check_merge(method: Method, case: Case) -> None:
    """Merging gives the same logits without any module of the method, where it is mergeable."""
    if method.merge is None or case.setup.candidate.quantization != "none":
        return  # no update can be folded into codes
    modules = classes(case.build())
    model = attached(method, case)
    train(method, model, case)
    expected = logits(model, case)
    merged = method.merge(model)
    apart = difference(expected, logits(merged, case))
    require(apart <= MERGE_TOLERANCE, f"{case.name}: merging changes the logits by {apart:.2e}.")
    require(classes(merged) == modules, f"{case.name}: merging leaves other modules than the original's.")


def check_same_seed_same_losses(method: Method, case: Case) -> None:
    """The same seed gives the same losses."""
    first, second = trained(method, case).losses, train(method, attached(method, case), case)
    require(first == second, f"{case.name}: the same seed gave {first} and then {second}.")


def check_quantized_base(
    method: Method, case: Case, scheme: str, quantized: Callable[[], Any], *, briefly: bool = False
) -> None:
    """Works on a quantized base exactly where it claims to.

    Args:
        method: the method.
        case: a case it can work in.
        scheme: the quantization scheme's name.
        quantized: makes the case's model with its base in that scheme.
        briefly: leave out what was seen on another architecture already.
    """
    there = replace(altered(case, scheme, quantization=scheme), build=quantized)
    sentences = method.violations(there.setup)
    claimed, needed = method.capabilities.quantized_base, method.capabilities.needs_quantized
    whole = method.violations(altered(case, "whole", quantization="none").setup)
    require(bool(whole) or not needed, f"{case.name}: needs a quantized base, but does not refuse another.")
    require(claimed or bool(sentences), f"{there.name}: works on no quantized base, but does not say so.")
    # Single schemes may be refused for reasons of their own, but not the one that the claim stands for.
    works = not sentences
    require(works or not claimed or scheme != "nf4", f"{there.name}: claims a quantized base, but says {sentences}.")
    if not works:
        check_violations_match_apply(method, there)
        return
    for one in QUANTIZED_CHECKS[:BRIEF] if briefly else QUANTIZED_CHECKS:
        one(method, there)


FACTS: tuple[Callable[[Method], None], ...] = (check_declared_facts, check_seeds_are_legal, check_default_range)
CHECKS: tuple[Callable[[Method, Case], None], ...] = (
    check_violations_match_apply,
    check_effective_parameters,
    check_trainable_count,
    check_estimate_counts_what_trains,
    check_memory_estimate,
    check_held_is_what_stands_frozen,
    check_identity_at_start,
    check_gradients_reach_everything,
    check_save_and_load,
    check_loads_in_plain_peft,
    check_same_seed_same_losses,
    check_only_declared_parameters_train,
    check_base_comes_back,
    check_detach_restores,
    check_reattaches,
    check_merge,
)
QUANTIZED_CHECKS: tuple[Callable[[Method, Case], None], ...] = (
    check_only_declared_parameters_train,
    check_trainable_count,
    check_violations_match_apply,
    check_effective_parameters,
    check_detach_restores,
)
BRIEF = 2
"""How many of them are repeated on every kind of model."""


def check_facts(method: Method) -> None:
    """Runs every check of a method's declaration."""
    for one in FACTS:
        one(method)


def check(method: Method, case: Case) -> None:
    """Runs every check of a method in one case."""
    for one in CHECKS:
        one(method, case)
