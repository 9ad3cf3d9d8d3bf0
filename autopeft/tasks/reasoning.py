"""A worked answer to a question, judged by its final result."""

import re

from autopeft.tasks._declaration import TaskType
from autopeft.tasks._language import (
    CAUSAL,
    completion_losses,
    continue_prompts,
    counted_next,
    encode_instruction,
    predict_with,
)
from autopeft.tasks._metrics import exact_match, perplexity

MARK = "####"
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/[1-9][\d,]*)?")


def final_answer(text: str) -> str:
    """Returns what a worked answer comes to: what follows the last ``####``, else the last number, else the last line.

    Of what follows the mark the first line counts, with all numbers in it. Numbers are compared by value: thousands
    separators and trailing zeros go, and fractions are divided. Words are compared in lower case.
    """
    marked = MARK in text
    part = text.rsplit(MARK, 1)[1] if marked else text
    lines = [line.strip() for line in part.splitlines() if line.strip()]
    if not lines:
        return ""
    numbers = _NUMBER.findall(lines[0]) if marked else _NUMBER.findall(part)[-1:]
    if numbers:
        return " ".join(map(_value, numbers))
    return lines[0 if marked else -1].rstrip(".").casefold()


def _value(number: str) -> str:
    over, _, under = number.replace(",", "").partition("/")
    value = float(over) / float(under or 1)
    return str(int(value)) if value.is_integer() else str(value)


def _default_metric(rarest_share: float) -> str:
    del rarest_share
    return "exact_match"


TASK = TaskType(
    name="reasoning",
    title="Reasoning",
    roles=(("prompt", "completion"), ("messages",)),
    auto_class=CAUSAL,
    fresh_head=False,
    has_labels=False,
    encode=encode_instruction,
    predict=predict_with(continue_prompts, completion_losses, final_answer),
    losses=completion_losses,
    metrics={"exact_match": exact_match, "perplexity": perplexity},
    default_metric=_default_metric,
    lower_is_better=frozenset({"perplexity"}),
    counted=counted_next,
)
