"""Text that goes on from a prompt, or text as such."""

from autopeft.tasks._declaration import TaskType
from autopeft.tasks._language import (
    CAUSAL,
    completion_losses,
    counted_next,
    encode_plain,
    perplexity_decides,
    predict_losses,
)
from autopeft.tasks._metrics import perplexity

TASK = TaskType(
    name="generation",
    title="Text generation",
    roles=(("prompt", "completion"), ("messages",), ("text",)),
    auto_class=CAUSAL,
    fresh_head=False,
    has_labels=False,
    encode=encode_plain,
    predict=predict_losses,
    losses=completion_losses,
    metrics={"perplexity": perplexity},
    default_metric=perplexity_decides,
    lower_is_better=frozenset({"perplexity"}),
    counted=counted_next,
)
