"""What the tasks that read a text as a whole share: encoding, losses and predictions of a class or a number."""

from collections.abc import Mapping, Sequence
from typing import Any

from autopeft.tasks._declaration import Encoded, Predictions, Row
from autopeft.values.names import ModelKind

IMBALANCED = 0.2
"""Below this share of the rarest label the default metric stops being accuracy."""

SEQUENCE_CLASSES: dict[ModelKind, str] = dict.fromkeys(
    ("encoder", "decoder", "seq2seq"), "AutoModelForSequenceClassification"
)


def encode_text(row: Row, tokenizer: Any, limit: int) -> Encoded:
    """Returns the tokens of a row's ``text`` and, where there is one, its ``text_pair``.

    A row over the limit is cut at the end of its text, or of the longer one of a pair.
    """
    texts = (row["text"], row["text_pair"]) if "text_pair" in row else (row["text"],)
    encoded: Encoded = dict(tokenizer(*texts, truncation=False, verbose=False))
    if len(encoded["input_ids"]) > limit:
        encoded = dict(tokenizer(*texts, truncation=True, max_length=limit))
        encoded["truncated"] = True
    return encoded


def encode_labelled(row: Row, tokenizer: Any, labels: Sequence[str], limit: int) -> Encoded:
    """Returns a row with the id of its ``label``: the label's place among the label names."""
    return {**encode_text(row, tokenizer, limit), "labels": labels.index(row["label"])}


def encode_number(row: Row, tokenizer: Any, labels: Sequence[str], limit: int) -> Encoded:
    """Returns a row with its ``label`` as a number."""
    del labels  # a number has none
    return {**encode_text(row, tokenizer, limit), "labels": float(row["label"])}


def class_losses(model: Any, batch: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Returns the cross-entropy of each row, in nats, and a weight of 1 for each."""
    predictions = predict_class(model, batch, None, 0)
    return list(predictions.losses), list(predictions.weights)


def predict_class(model: Any, batch: Mapping[str, Any], tokenizer: Any, longest: int) -> Predictions:
    """Returns label ids with the cross-entropy of each row, in nats; logits are [rows, classes]."""
    import torch

    del tokenizer, longest
    logits, labels = _logits(model, batch)
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return Predictions(
        predicted=logits.argmax(-1).tolist(),
        expected=labels.tolist(),
        losses=losses.tolist(),
        weights=[1.0] * len(labels),
    )


def number_losses(model: Any, batch: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Returns the squared error of each row and a weight of 1 for each."""
    predictions = predict_number(model, batch, None, 0)
    return list(predictions.losses), list(predictions.weights)


def predict_number(model: Any, batch: Mapping[str, Any], tokenizer: Any, longest: int) -> Predictions:
    """Returns numbers with the squared error of each row; logits are [rows, 1]."""
    del tokenizer, longest
    logits, labels = _logits(model, batch)
    predicted = logits.squeeze(-1)
    return Predictions(
        predicted=predicted.tolist(),
        expected=labels.tolist(),
        losses=((predicted - labels) ** 2).tolist(),
        weights=[1.0] * len(labels),
    )


def _logits(model: Any, batch: Mapping[str, Any]) -> tuple[Any, Any]:
    import torch

    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        return model(**inputs).logits.float(), batch["labels"]
