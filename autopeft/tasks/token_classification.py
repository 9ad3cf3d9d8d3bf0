"""One tag per word: entities, parts of speech."""

from collections.abc import Mapping, Sequence
from typing import Any

from autopeft.tasks._declaration import IGNORED, Encoded, Predictions, Row, TaskType
from autopeft.tasks._metrics import seqeval_f1, tag_accuracy


def _encode(row: Row, tokenizer: Any, labels: Sequence[str], limit: int) -> Encoded:
    """Returns a row whose words' first tokens carry the tag ids; all other tokens are left out of the loss.

    Words beyond the limit are cut off together with their tags.
    """
    encoding = tokenizer(row["tokens"], is_split_into_words=True, truncation=True, max_length=limit)
    words = encoding.word_ids()
    tags = [
        labels.index(row["tags"][word]) if word is not None and word != before else IGNORED
        for word, before in zip(words, [None, *words[:-1]], strict=True)
    ]
    encoded: Encoded = {**encoding, "labels": tags}
    if {word for word in words if word is not None} != set(range(len(row["tokens"]))):
        encoded["truncated"] = True
    return encoded


def _predict(model: Any, batch: Mapping[str, Any], tokenizer: Any) -> Predictions:
    """Returns tag names at the words' first tokens; names come from ``model.config.id2label``."""
    import torch

    del tokenizer
    labels = batch["labels"]
    with torch.no_grad():
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits.float()
    logits = logits[:, -labels.shape[1] :]  # soft prompts in front may have logits of their own
    names = model.config.id2label
    counted = labels != IGNORED
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")  # 0 where ignored
    words = counted.sum(-1)
    return Predictions(
        predicted=_names(logits.argmax(-1), counted, names),
        expected=_names(labels, counted, names),
        losses=(losses.sum(-1) / words.clamp(min=1)).tolist(),
        weights=words.float().tolist(),
    )


def _names(ids: Any, counted: Any, names: Mapping[int, str]) -> list[list[str]]:
    return [[names[tag] for tag in row[mask].tolist()] for row, mask in zip(ids, counted, strict=True)]


def _losses(model: Any, batch: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    predictions = _predict(model, batch, None)
    return list(predictions.losses), list(predictions.weights)


def _default_metric(rarest_share: float) -> str:
    del rarest_share  # most words are outside any entity in all such data; spans are what counts
    return "seqeval_f1"


TASK = TaskType(
    name="token-classification",
    title="Token classification",
    roles=(("tokens", "tags"),),
    auto_class={"encoder": "AutoModelForTokenClassification", "decoder": "AutoModelForTokenClassification"},
    fresh_head=True,
    has_labels=True,
    encode=_encode,
    predict=_predict,
    losses=_losses,
    metrics={"seqeval_f1": seqeval_f1, "accuracy": tag_accuracy},
    default_metric=_default_metric,
)
