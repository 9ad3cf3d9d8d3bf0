"""One number per text or pair of texts."""

from typing import Any

from autopeft.tasks._declaration import TaskType
from autopeft.tasks._metrics import mae, pearson, r2, spearman
from autopeft.tasks._sequence import SEQUENCE_CLASSES, encode_number, number_losses, predict_number


def _default_metric(rarest_share: float) -> str:
    del rarest_share  # a number has no labels
    return "spearman"


def _counted(labels: Any) -> Any:
    return labels == labels


TASK = TaskType(
    name="regression",
    title="Regression on texts",
    roles=(("text", "label"), ("text", "text_pair", "label")),
    auto_class=SEQUENCE_CLASSES,
    fresh_head=True,
    has_labels=False,
    encode=encode_number,
    predict=predict_number,
    losses=number_losses,
    metrics={"spearman": spearman, "pearson": pearson, "r2": r2, "mae": mae},
    default_metric=_default_metric,
    lower_is_better=frozenset({"mae"}),
    counted=_counted,
)
