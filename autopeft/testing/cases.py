"""The setups that the contract tries a method in: tiny models it claims to work on, and awkward ones."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from autopeft import resources
from autopeft.files import read_yaml
from autopeft.methods import Method
from autopeft.quantization import get_quantization, stop_repacking
from autopeft.tuning.space import legal_space
from autopeft.values.candidates import Candidate, Setup
from autopeft.values.names import ModelKind, ParameterValue, Task
from autopeft.values.profiles import Device, HardwareProfile, ModelProfile

LABELS = 3
ROWS, TOKENS = 2, 12
PLACES: tuple[tuple[str, Task], ...] = (
    ("bert", "classification"), ("llama", "generation"), ("llama", "classification"), ("gpt2", "generation"),
    ("t5", "seq2seq"),
)  # fmt: skip
"""Tiny model and task of each place where a method is tried."""

QUANTIZED_PLACES: tuple[tuple[str, Task], ...] = (
    ("llama", "generation"),
    ("bert", "classification"),
    ("t5", "seq2seq"),
)
"""One place of each kind, where a base is quantized; the first that a method can work in gets every such check."""
SCHEMES = ("nf4", "int8")
_DEVICE = Device(index=0, name="none", kind="cpu", total_memory_bytes=2**33, free_memory_bytes=2**33)
HARDWARE = HardwareProfile(
    source="given", devices=(_DEVICE,),
    selected=0, cpu_count=1, ram_bytes=2**33, dtype="float32", dtype_reason="the contract's cases are float32",
)  # fmt: skip
"""What the contract's estimates are for."""

ReadModel = Callable[[str, Task, int], ModelProfile]
"""(folder, task, labels, at least 1) → profile of the model that the task builds."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One place to try a method in.

    Attributes:
        name: says the place in a failing test's name.
        build: makes the task model; the same weights every time.
        batch: makes the same batch of padded rows with labels every time.
    """

    name: str
    setup: Setup
    build: Callable[[], Any]
    batch: Callable[[], Mapping[str, Any]]


def cases(method: Method, folders: Mapping[str, Path], read: ReadModel) -> tuple[Case, ...]:
    """Returns a case for every place that the method claims, under parameters it searches by default.

    The places are those of `PLACES`, or of `QUANTIZED_PLACES` with a 4-bit base for a method that works on no other.

    Args:
        method: the method to try.
        folders: folder of each tiny architecture, as `autopeft.testing.models.tiny_model_folder` writes it.
        read: reads a model's profile.
    """
    places = QUANTIZED_PLACES if method.capabilities.needs_quantized else PLACES
    found = (make_case(method, name, task, folders[name], read) for name, task in places)
    return tuple(case for case in found if not method.violations(case.setup))


def make_case(method: Method, architecture: str, task: Task, folder: Path, read: ReadModel) -> Case:
    """Returns the case of one tiny model and one task, whether the method can work there or not.

    The base is as the checkpoint has it, or in 4 bits for a method that works on no other.
    """
    labels = 0 if task in ("generation", "seq2seq", "multiple-choice") else LABELS
    setup = Setup(model=read(str(folder), task, labels or 1), task=task, candidate=example(method), total_steps=20)
    case = Case(
        name=f"{method.name}-{architecture}-{task}",
        setup=setup,
        build=partial(built, setup),
        batch=partial(batch, task),
    )
    return in_scheme(case, SCHEMES[0]) if method.capabilities.needs_quantized else case


def in_scheme(case: Case, scheme: str) -> Case:
    """Returns the case with its base in a quantization scheme."""
    return replace(altered(case, scheme, quantization=scheme), build=partial(quantized, case, scheme))


def built(setup: Setup) -> Any:
    """Returns the setup's model, not quantized; the same weights every time."""
    model = setup.model
    return deepcopy(_original(Path(model.source), setup.task, model.kind, model.labels))


def example(method: Method) -> Candidate:
    """Returns a candidate from the low end of what the method searches by default; it suits tiny models.

    A method of nobody's catalogue has no file to say so: it is the low end of what is legal.
    """
    path = resources.search_spaces() / f"{method.name}.yaml"
    if path.is_file():
        entries = read_yaml(path).get("parameters") or {}
    else:
        entries = {name: asdict(whole) for name, whole in legal_space(method).parameters.items()}
    targets = "all-linear" if method.capabilities.takes_targets else "none"
    parameters = {name: _low(entry) for name, entry in entries.items()}
    return Candidate(method=method.name, parameters=parameters, targets=targets, learning_rate=1e-3, batch_size=ROWS)


def _low(entry: Mapping[str, Any]) -> ParameterValue:
    if entry.get("choices"):
        first: ParameterValue = entry["choices"][0]
        return first
    low, high = entry["low"], entry["high"]
    if isinstance(low, int):
        return low
    # A rate such as dropout starts at 0, where it would not show whether it took effect.
    return float((low * high) ** 0.5) if entry.get("log") else float(low + (high - low) / 2)


@cache
def _original(folder: Path, task: Task, kind: ModelKind, labels: int) -> Any:
    return build(folder, task, kind, labels)


def build(folder: Path, task: Task, kind: ModelKind, labels: int, **options: Any) -> Any:
    """Returns the task model of a folder; weights that the folder lacks are drawn from a fixed seed."""
    import torch
    import transformers

    from autopeft.tasks import get_task

    heads = {"num_labels": labels} if labels else {}
    torch.manual_seed(0)
    auto = getattr(transformers, get_task(task).auto_class[kind])
    return auto.from_pretrained(folder, **heads, **options)


def quantized(case: Case, scheme: str) -> Any:
    """Returns the case's model with its base in a quantization scheme; the same weights every time."""
    model = case.setup.model
    return deepcopy(_quantized(Path(model.source), case.setup.task, model.kind, model.labels, scheme))


@cache
def _quantized(folder: Path, task: Task, kind: ModelKind, labels: int, scheme: str) -> Any:
    model = build(folder, task, kind, labels, quantization_config=get_quantization(scheme).config("float32"))
    stop_repacking(model)
    return model


def batch(task: Task) -> dict[str, Any]:
    """Returns two rows of twelve tokens, the second padded by three, with the task's labels.

    Of several choices a row has its own text and the other row's.
    """
    import torch

    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(5, 264, (ROWS, TOKENS), generator=generator)
    mask = torch.ones_like(tokens)
    tokens[1, -3:], mask[1, -3:] = 0, 0
    tokens[0, 0] = 1  # for what trains the first tokens of a vocabulary alone
    if task == "multiple-choice":
        tokens, mask = (torch.stack([rows, rows.flip(0)], dim=1) for rows in (tokens, mask))
        return {"input_ids": tokens, "attention_mask": mask, "labels": torch.tensor([0, 1])}
    labels = {
        "classification": torch.tensor([0, LABELS - 1]),
        "token-classification": (tokens % LABELS).masked_fill(mask == 0, -100),
        "generation": tokens.masked_fill(mask == 0, -100),
        "seq2seq": tokens[:, : TOKENS // 2].contiguous(),
    }
    return {"input_ids": tokens, "attention_mask": mask, "labels": labels[task]}


def altered(case: Case, name: str, **changes: Any) -> Case:
    """Returns a case whose candidate differs in some fields; ``parameters`` are laid over the case's own."""
    candidate = case.setup.candidate
    if "parameters" in changes:
        changes["parameters"] = {**candidate.parameters, **changes["parameters"]}
    setup = replace(case.setup, candidate=replace(candidate, **changes))
    return replace(case, name=f"{case.name}-{name}", setup=setup)


def checkpointed(case: Case) -> Case:
    """Returns the case with gradient checkpointing asked for and switched on in the model."""

    def build_checkpointed() -> Any:
        model = case.build()
        model.gradient_checkpointing_enable()
        return model

    return replace(altered(case, "gradient checkpointing", gradient_checkpointing=True), build=build_checkpointed)


def awkward(case: Case) -> tuple[Case, ...]:
    """Returns what users ask for by mistake, and sizes that do not divide: each must be refused or work."""
    given = case.setup.candidate.parameters
    whole = [name for name, value in given.items() if type(value) is int]
    return (
        altered(case, "unknown target", targets="no_such_module"),
        altered(case, "no targets", targets="none"),
        altered(case, "attention only", targets="attention"),
        altered(case, "too many layers", layers="last:99"),
        altered(case, "one layer", layers="last:1"),
        altered(case, "no such layers", layers="first:1"),
        altered(case, "unknown parameter", parameters={"no_such_parameter": 1}),
        checkpointed(case),
        *(altered(case, f"{name}={value}", parameters={name: value}) for name in whole for value in (0, 7, 23, 1000)),
    )
