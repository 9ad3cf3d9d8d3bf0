"""One tag per word: entities, parts of speech."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from autopeft.tasks._declaration import IGNORED, Encoded, Predictions, Row, TaskType
from autopeft.tasks._metrics import seqeval_f1, tag_accuracy
from autopeft.tasks._words import unspaced


def _encode(row: Row, tokenizer: Any, labels: Sequence[str], limit: int) -> Encoded:
    """Returns a row whose words' first tokens carry the tag ids; all other tokens are left out of the loss.

    Words are read as they stand in running text, with the space before them where the tokenizer takes it for a part of
    the word; a token of that space alone carries no tag. Words beyond the limit are cut off together with their tags.
    """
    gaps = _gaps(row["tokens"], tokenizer)
    spaced = [f"{gap}{word}" for gap, word in zip(gaps, row["tokens"], strict=True)]
    encoding = tokenizer(
        spaced, is_split_into_words=True, truncation=True, max_length=limit, return_offsets_mapping=True
    )
    ends = [end for _, end in encoding.pop("offset_mapping")]
    tagged: set[int] = set()
    tags: list[int] = []
    for word, end in zip(encoding.word_ids(), ends, strict=True):
        begins = word is not None and word not in tagged and (end > 1 or not gaps[word])
        if begins:
            tagged.add(word)
        tags.append(labels.index(row["tags"][word]) if begins else IGNORED)
    encoded: Encoded = {**encoding, "labels": tags}
    if len(tagged) < len(row["tokens"]):
        encoded["truncated"] = True
    return encoded


def _gaps(words: Sequence[str], tokenizer: Any) -> list[str]:
    """Returns what to put before each word: a space, or nothing where the tokenizer or the script has none there."""
    if not _keeps_spaces(tokenizer):
        return [""] * len(words)
    between = [" " if _apart(before, word) else "" for before, word in pairwise(words)]
    return ["", *between][: len(words)]


def _apart(before: str, word: str) -> bool:
    return bool(word) and not word[0].isspace() and not (unspaced(before[-1:]) and unspaced(word))


@lru_cache(maxsize=2)
def _keeps_spaces(tokenizer: Any) -> bool:
    """Whether words given one by one lack the space that the tokenizer keeps with a word, as byte-level ones do."""

    def tokens(words: str | list[str]) -> list[int]:
        found: list[int] = tokenizer(
            words, is_split_into_words=not isinstance(words, str), add_special_tokens=False
        ).input_ids
        return found

    running = tokens("a a")
    return tokens(["a", "a"]) != running and tokens(["a", " a"]) == running


def _predict(model: Any, batch: Mapping[str, Any], tokenizer: Any, longest: int) -> Predictions:
    """Returns tag names at the words' first tokens; names come from ``model.config.id2label``."""
    import torch

    del tokenizer, longest
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
    predictions = _predict(model, batch, None, 0)
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
