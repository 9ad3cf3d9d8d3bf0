"""One label per pair of texts: paraphrase, entailment, question and answer."""

from autopeft.tasks._declaration import TaskType
from autopeft.tasks._metrics import accuracy, macro_f1, mcc
from autopeft.tasks._sequence import IMBALANCED, SEQUENCE_CLASSES, class_losses, encode_labelled, predict_class


def _default_metric(rarest_share: float) -> str:
    return "mcc" if rarest_share < IMBALANCED else "accuracy"


TASK = TaskType(
    name="pair-classification",
    title="Classification of text pairs",
    roles=(("text", "text_pair", "label"),),
    auto_class=SEQUENCE_CLASSES,
    fresh_head=True,
    has_labels=True,
    encode=encode_labelled,
    predict=predict_class,
    losses=class_losses,
    metrics={"accuracy": accuracy, "macro_f1": macro_f1, "mcc": mcc},
    default_metric=_default_metric,
)
