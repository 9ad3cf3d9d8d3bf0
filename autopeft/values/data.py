"""How a data set was prepared: everything needed to prepare another one in the same way."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from autopeft.values.names import Task


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """One preparation, as it stands in ``tuned.yaml``.

    Attributes:
        source: the file, folder or hub name.
        columns: the source's column by role (``text``, ``label``, ``prompt``, ``completion``, ``messages``, …).
        labels: label names in the order of their ids; empty for tasks without labels.
        token_limit: tokens per row, special tokens included; None for the tokenizer's own limit.
        fractions: shares of train, validation and test where splits are made.
        seed: of the split.
        class_weights: weight of each label in the loss, in the order of ``labels``; None for equal weights.
        metric: a metric of the task, or the user's own as ``package.module:function``.
    """

    source: str
    task: Task
    columns: Mapping[str, str]
    labels: tuple[str, ...] = ()
    token_limit: int | None = None
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0
    class_weights: tuple[float, ...] | None = None
    metric: str


@dataclass(frozen=True, kw_only=True)
class DataCounts:
    """What was found in the source.

    Attributes:
        duplicates: rows whose text occurs before in the same split.
        leaked: rows of a given validation or test split whose text, nearly, also stands in train.
        dropped: rows left out, by reason, such as ``label missing``.
    """

    duplicates: int = 0
    leaked: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
