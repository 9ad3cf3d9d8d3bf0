"""A text turned into another one: translation, summary, transcription."""

from collections.abc import Mapping, Sequence
from typing import Any

from autopeft.tasks._declaration import IGNORED, Encoded, Row, TaskType
from autopeft.tasks._language import predict_with, write_targets
from autopeft.tasks._metrics import exact_match, perplexity, rouge_l


def _encode(row: Row, tokenizer: Any, labels: Sequence[str], limit: int) -> Encoded:
    """Returns the source's tokens with the target's as labels, which end in EOS; both are cut at the limit."""
    del labels
    source = tokenizer(row["source"], verbose=False).input_ids
    target = tokenizer(text_target=row["target"], verbose=False).input_ids
    if tokenizer.eos_token_id is not None and not _ends(target, tokenizer):
        target = [*target, tokenizer.eos_token_id]
    encoded: Encoded = {
        "input_ids": source[:limit],
        "attention_mask": [1] * min(len(source), limit),
        "labels": target[:limit],
    }
    return {**encoded, "truncated": True} if max(len(source), len(target)) > limit else encoded


def _ends(target: Sequence[int], tokenizer: Any) -> bool:
    """Returns whether a target already ends in EOS, or in SEP as encoders' tokenizers have it."""
    return target[-1:] in ([tokenizer.eos_token_id], [tokenizer.sep_token_id])


def _losses(model: Any, batch: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Returns each row's mean loss over its target tokens, in nats, and how many those are."""
    import torch

    labels = batch["labels"]
    with torch.no_grad():
        logits = model(**batch).logits[:, -labels.shape[1] :]  # soft prompts in front may have logits of their own
    flat = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")
    numbers = (labels != IGNORED).sum(-1)
    return (flat.sum(-1) / numbers.clamp(min=1)).tolist(), numbers.float().tolist()


def _default_metric(rarest_share: float) -> str:
    del rarest_share
    return "rouge_l"


TASK = TaskType(
    name="seq2seq",
    title="Sequence to sequence",
    roles=(("source", "target"),),
    auto_class={"seq2seq": "AutoModelForSeq2SeqLM"},
    fresh_head=False,
    has_labels=False,
    encode=_encode,
    predict=predict_with(write_targets, _losses),
    losses=_losses,
    metrics={"rouge_l": rouge_l, "exact_match": exact_match, "perplexity": perplexity},
    default_metric=_default_metric,
    lower_is_better=frozenset({"perplexity"}),
)
