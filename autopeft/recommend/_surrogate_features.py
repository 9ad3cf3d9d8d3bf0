"""What the surrogate sees of a run: a vector of descriptors, never a name, so that an unseen method has one too."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autopeft.methods import Method
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
    "share unknown", "on attention", "on feed-forward", "bits saved", "rate", "rate²", "rate unknown", "log batch",
    "log model", "model unknown", "layers", "labelled", "log labels", "log rows", "log tokens", "budget unknown",
    "rate × log tokens", "log share × log rows", "soft-prompt × log model", "full × rate", "selective × rate",
)  # fmt: skip


def vector(described: Described) -> list[float]:
    """Returns the descriptors in the order of `NAMES`; what is not known is 0 beside its flag."""
    method, able = described.method, described.method.capabilities
    share = _log(described.trainable, described.parameters)
    rate = described.rate_position
    position = 0.0 if rate is None else rate - 0.5
    rows, tokens, size = _ten(described.rows, 3), _ten(described.tokens, 5), _ten(described.parameters, 8)
    targets = described.targets
    bits = all_quantizations()[described.quantization].bits or UNQUANTIZED_BITS
    values = [
        *(float(method.family == family) for family in FAMILIES),
        float(method.kind == "initialization"), float(able.identity_at_start), float(able.changes_base),
        float(able.uses_context), float(able.adds_latency),
        share or 0.0, float(share is None),
        float(targets in ("qv", "attention", "all-linear") or "_proj" in targets),
        float(targets in ("mlp", "all-linear")),
        (UNQUANTIZED_BITS - bits) / UNQUANTIZED_BITS,
        position, position**2, float(rate is None), _ten(described.batch_size, 1),
        size, float(described.parameters is None), (described.layers or 12) / 12 - 1,
        float(described.task in WITH_LABELS), math.log10(1 + described.labels), rows, tokens,
        float(described.tokens is None),
        position * tokens, (share or 0.0) * rows, float(method.family == "soft-prompt") * size,
        float(method.family == "full") * position, float(method.family == "selective") * position,
    ]  # fmt: skip
    assert len(values) == len(NAMES)  # a defect of this file
    return values


def _ten(value: float | None, centre: float) -> float:
    """Returns the logarithm of a quantity around a usual one, 0 where it is not known."""
    return 0.0 if not value else math.log10(value) - centre


def _log(part: int | None, whole: int | None) -> float | None:
    """Returns the logarithm of a share, around a thousandth; None where it is not known."""
    if not part or not whole:
        return None
    return math.log10(part / whole) + 3


def matrix(described: Sequence[Described]) -> list[list[float]]:
    """Returns one row of descriptors for each."""
    return [vector(one) for one in described]
