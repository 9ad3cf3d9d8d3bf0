"""What a task type declares: its columns, its head, how a row becomes tokens, and its metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autopeft.values.names import ModelKind, Task

Row = Mapping[str, Any]
"""One row by column role: ``{"text": …, "label": …}``."""

Encoded = dict[str, Any]
"""One row as tokens: lists of integers by model argument (``input_ids``, ``attention_mask``, ``labels``, …).

`encode` adds the key ``truncated`` to a row it had to cut; the data stage counts and removes it.
"""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a model said on a split, row by row, in the split's order.

    Attributes:
        predicted: predictions in the task's own terms (label ids, numbers, tag lists, strings).
        expected: the truths in the same terms.
        losses: the loss per row, in nats (mean over its target tokens for language tasks).
        weights: how much each row weighs in a mean of losses: its target tokens for language tasks, else 1.
    """

    predicted: Sequence[Any]
    expected: Sequence[Any]
    losses: Sequence[float]
    weights: Sequence[float]


Metric = Callable[[Predictions], float]

IGNORED = -100
"""The label of a token that no loss counts."""


def counted_labels(labels: Any) -> Any:
    """Returns which of a batch's labels the model's own loss is the mean over: a tensor of booleans."""
    return labels != IGNORED


@dataclass(frozen=True, kw_only=True)
class TaskType:
    """One task type, declared by one file.

    Attributes:
        roles: alternatives of column roles that make a row, the preferred first, such as
            ``(("text", "label"),)`` or ``(("prompt", "completion"), ("messages",), ("text",))``.
        auto_class: transformers' auto class by kind of architecture; a missing kind has no head for it.
        fresh_head: whether that class puts an untrained head on the base.
        has_labels: whether rows carry one of a fixed set of labels (``labels`` of the task profile).
        encode: (row by role, tokenizer, label names, token limit) → one encoded row.
        predict: (model, batch of padded tensors as the model takes them, tokenizer, most tokens of a written text) →
            predictions for the batch; the caller has put the model into evaluation mode and the batch on its device.
        losses: (model, batch) → losses and weights per row as in `Predictions`, without decoding any text: the
            cheap signal that trials are pruned on.
        counted: labels of a batch → which of them the model's own loss is the mean over.
        metrics: every metric by name, higher better unless named in ``lower_is_better``.
        default_metric: the one that decides, given the share of the rarest label (0 to 1; 1 without labels).
    """

    name: Task
    title: str
    roles: tuple[tuple[str, ...], ...]
    auto_class: Mapping[ModelKind, str]
    fresh_head: bool
    has_labels: bool
    encode: Callable[[Row, Any, Sequence[str], int], Encoded]
    predict: Callable[[Any, Mapping[str, Any], Any, int], Predictions]
    losses: Callable[[Any, Mapping[str, Any]], tuple[Sequence[float], Sequence[float]]]
    metrics: Mapping[str, Metric]
    default_metric: Callable[[float], str]
    lower_is_better: frozenset[str] = frozenset()
    counted: Callable[[Any], Any] = counted_labels
