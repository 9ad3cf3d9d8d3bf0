"""What the surrogate sees of a run: a vector of descriptors, never a name, so that an unseen method has one too."""

import math
from dataclasses import dataclass

from autopeft.methods import Method
from autopeft.methods._targets import GROUPS, ROLES
from autopeft.profiling.roles import linear_role
from autopeft.quantization import all_quantizations
from autopeft.values.candidates import Candidate
from autopeft.values.evidence import Run
from autopeft.values.names import Task
from autopeft.values.profiles import ModelProfile, TaskProfile

FAMILIES = ("low-rank", "orthogonal", "spectral", "adapter", "soft-prompt", "scaling", "selective", "full")
UNQUANTIZED_BITS = 16
WITH_LABELS: frozenset[Task] = frozenset(
    {"classification", "regression", "pair-classification", "token-classification", "multiple-choice"}
)


@dataclass(frozen=True, kw_only=True)
class Described:
    """A run before it is run; None where something is not known.

    Attributes:
        rate_position: of the learning rate in the method's own range, 0 its lower end and 1 its upper, on a
            logarithmic scale.
        tokens: trained on.
    """

    method: Method
    targets: str
    quantization: str
    rate_position: float | None
    batch_size: int | None
    trainable: int | None
    parameters: int | None
    layers: int | None
    task: Task
    labels: int
    rows: int | None
    tokens: int | None


def describe_run(run: Run, method: Method) -> Described:
    """Returns a measured run as the surrogate sees it."""
    return Described(
        method=method, targets=run.targets, quantization=run.quantization,
        rate_position=rate_position(method, run.learning_rate), batch_size=run.batch_size,
        trainable=run.trainable_parameters, parameters=run.model.parameters, layers=run.model.layers,
        task=run.task.task, labels=run.task.labels, rows=run.task.rows, tokens=run.tokens,
    )  # fmt: skip


def describe_candidate(
    candidate: Candidate, method: Method, model: ModelProfile, task: TaskProfile, *, trainable: int, tokens: int
) -> Described:
    """Returns a candidate as the surrogate sees it.

    Args:
        candidate: what would be trained.
        method: the candidate's.
        model: of the task.
        task: of the data.
        trainable: parameters it trains.
        tokens: it would be trained on.
    """
    return Described(
        method=method, targets=candidate.targets, quantization=candidate.quantization,
        rate_position=rate_position(method, candidate.learning_rate),
        batch_size=candidate.batch_size * candidate.accumulation, trainable=trainable, parameters=model.parameters,
        layers=model.layers, task=task.task, labels=len(task.labels), rows=task.training_rows, tokens=tokens,
    )  # fmt: skip


def rate_position(method: Method, rate: float | None) -> float | None:
    """Returns where a rate lies in a method's own range, on a logarithmic scale; a little outside 0 … 1 it may be."""
    if rate is None:
        return None
    low, high = method.learning_rate.low, method.learning_rate.high
    return min(max(math.log(rate / low) / math.log(high / low), -0.5), 1.5)


NAMES = (
    *FAMILIES, "initialization", "keeps output", "changes base", "takes context", "adds latency", "log share",
    "share unknown", "on attention", "on feed-forward", "bits saved", "rate", "rate unknown", "log batch", "log model",
    "model unknown", "layers", "labelled", "log labels", "log rows", "log tokens", "budget unknown",
)  # fmt: skip
"""Descriptors, by which runs lie near each other or far apart."""

DIRECT = (
    "initialization",
    "keeps output",
    "adds latency",
    "log share",
    "on attention",
    "on feed-forward",
    "bits saved",
)
TERMS = (
    *FAMILIES, *DIRECT, "log share × log rows", "soft-prompt × log model", "rate", "starved", "heated",
    "rate × log tokens", "starved × log tokens", "heated × log tokens",
)  # fmt: skip
"""What the prediction is linear in, beside the method itself."""

UNSTATED_TOKENS = 10**7
"""Training tokens of a run that does not state them: tables in papers are of whole trainings, and rates of those must
not speak for short ones."""

HOT = 0.2
"""Part of a method's range of rates above its middle from which a rate counts as hot."""


def vector(described: Described) -> list[float]:
    """Returns the descriptors in the order of `NAMES`; what is not known is 0 beside its flag."""
    values = _descriptors(described)
    return [values[name] for name in NAMES]


def terms(described: Described) -> list[float]:
    """Returns what the prediction is linear in, in the order of `TERMS`.

    Below the middle of its range a rate starves a method, well above it heats it: two slopes, since the loss from
    the first is steep and long and that from the second sudden.
    """
    values = _descriptors(described)
    rate, tokens = values["rate"], values["log tokens"]
    values["log share × log rows"] = values["log share"] * values["log rows"]
    values["soft-prompt × log model"] = values["soft-prompt"] * values["log model"]
    values |= {"starved": max(0.0, -rate), "heated": max(0.0, rate - HOT)}
    for name in ("rate", "starved", "heated"):
        values[f"{name} × log tokens"] = values[name] * tokens
    return [values[name] for name in TERMS]


def _descriptors(described: Described) -> dict[str, float]:
    method, able = described.method, described.method.capabilities
    share = _log(described.trainable, described.parameters)
    targets = described.targets
    bits = all_quantizations()[described.quantization].bits or UNQUANTIZED_BITS
    return {
        **{family: float(method.family == family) for family in FAMILIES},
        "initialization": float(method.kind == "initialization"),
        "keeps output": float(able.identity_at_start),
        "changes base": float(able.changes_base),
        "takes context": float(able.uses_context),
        "adds latency": float(able.adds_latency),
        "log share": share or 0.0,
        "share unknown": float(share is None),
        "on attention": float(_reaches(targets, "attention")),
        "on feed-forward": float(_reaches(targets, "mlp")),
        "bits saved": (UNQUANTIZED_BITS - bits) / UNQUANTIZED_BITS,
        "rate": 0.0 if described.rate_position is None else described.rate_position - 0.5,
        "rate unknown": float(described.rate_position is None),
        "log batch": _ten(described.batch_size, 1),
        "log model": _ten(described.parameters, 8),
        "model unknown": float(described.parameters is None),
        "layers": (described.layers or 12) / 12 - 1,
        "labelled": float(described.task in WITH_LABELS),
        "log labels": math.log10(1 + described.labels),
        "log rows": _ten(described.rows, 3),
        "log tokens": _ten(described.tokens or UNSTATED_TOKENS, 5),
        "budget unknown": float(described.tokens is None),
    }


def _reaches(targets: str, group: str) -> bool:
    """Whether targets, a group or names of modules with commas between them, hold any of a group of roles."""
    if targets in GROUPS:
        return targets == "all-linear" or bool(ROLES[targets] & ROLES[group])
    return any(linear_role(name.strip()) in ROLES[group] for name in targets.split(","))


def _ten(value: float | None, centre: float) -> float:
    """Returns the logarithm of a quantity around a usual one, 0 where it is not known."""
    return 0.0 if not value else math.log10(value) - centre


def _log(part: int | None, whole: int | None) -> float | None:
    """Returns the logarithm of a share, around a thousandth; None where it is not known."""
    if not part or not whole:
        return None
    return math.log10(part / whole) + 3
