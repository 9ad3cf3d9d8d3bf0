"""The right one among several continuations or answers."""

from collections.abc import Sequence
from typing import Any

from autopeft.tasks._declaration import Encoded, Row, TaskType
from autopeft.tasks._metrics import accuracy
from autopeft.tasks._sequence import class_losses, encode_text, predict_class


def _encode(row: Row, tokenizer: Any, labels: Sequence[str], limit: int) -> Encoded:
    """Returns lists per choice, [choices, tokens], each choice as a pair with the prompt."""
    del labels  # the label is the position of the right choice
    parts = [encode_text({"text": row["prompt"], "text_pair": choice}, tokenizer, limit) for choice in row["choices"]]
    cut = [part.pop("truncated", False) for part in parts]
    encoded: Encoded = {name: [part[name] for part in parts] for name in parts[0]}
    encoded["labels"] = row["label"]
    if any(cut):
        encoded["truncated"] = True
    return encoded


def _default_metric(rarest_share: float) -> str:
    del rarest_share  # a position among the choices has no balance of its own
    return "accuracy"


TASK = TaskType(
    name="multiple-choice",
    title="Multiple choice",
    roles=(("prompt", "choices", "answer"),),
    auto_class={"encoder": "AutoModelForMultipleChoice"},
    fresh_head=True,
    has_labels=False,
    encode=_encode,
    predict=predict_class,
    losses=class_losses,
    metrics={"accuracy": accuracy},
    default_metric=_default_metric,
)
