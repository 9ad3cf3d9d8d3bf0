"""What the tasks that produce text share: joining prompt and completion, losses on target tokens, decoding."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autopeft.errors import DataError
from autopeft.tasks._declaration import IGNORED, Encoded, Predictions, Row, counted_labels
from autopeft.values.names import ModelKind

CAUSAL: dict[ModelKind, str] = {"decoder": "AutoModelForCausalLM"}


def encode_plain(row: Row, tokenizer: Any, labels: Sequence[str], limit: int) -> Encoded:
    """Returns a row with prompt and completion joined, with a line break where the prompt does not end in white space.

    The prompt alone decides what stands between them, since nothing else is there when the model is asked.

    Chat messages go through `encode_chat`; a row of plain ``text`` has its loss on all tokens.
    """
    del labels
    if "messages" in row:
        return encode_chat(row["messages"], tokenizer, limit)
    if "text" in row:
        return join(tokenizer, "", row["text"], limit)
    prompt, completion = row["prompt"], row["completion"]
    if prompt[-1:].isspace():
        return join(tokenizer, prompt, completion, limit)
    return join(tokenizer, f"{prompt}\n", _without_gap(completion), limit)


def _without_gap(completion: str) -> str:
    """Returns a completion without the white space that stood between it and the prompt.

    What indents its first line stays where that is a line of its own, as in code.
    """
    space = completion[: len(completion) - len(completion.lstrip())]
    return completion[space.rfind("\n") + 1 :] if "\n" in space else completion.lstrip()


def encode_instruction(row: Row, tokenizer: Any, labels: Sequence[str], limit: int) -> Encoded:
    """Returns a row as a chat of one question and its answer; see `encode_chat`."""
    del labels
    messages = row.get("messages") or [
        {"role": "user", "content": row["prompt"]},
        {"role": "assistant", "content": row["completion"]},
    ]
    return encode_chat(messages, tokenizer, limit)


def encode_chat(messages: Sequence[Mapping[str, str]], tokenizer: Any, limit: int) -> Encoded:
    """Returns a chat with the loss on its last assistant turn alone: what came before is given, as in use.

    The tokenizer's chat template is used; without one, turns are ``### Role:`` headings with their content.
    """
    history, answer = list(messages[:-1]), messages[-1]["content"]
    prompt = chat_text(history, tokenizer, answering=True)
    if not tokenizer.chat_template:
        return join(tokenizer, prompt, answer, limit)
    whole = chat_text(messages, tokenizer, answering=False)
    # Some templates rewrite the history once an answer follows; the answer then follows the prompt as it stands.
    completion = whole[len(prompt) :] if whole.startswith(prompt) else answer
    return join(tokenizer, prompt, completion, limit, special=False)


def chat_text(messages: Sequence[Mapping[str, str]], tokenizer: Any, *, answering: bool) -> str:
    """Returns a chat as one text, with the heading of the answer to come where there is to be one.

    Raises:
        DataError: the tokenizer's template refuses these roles, or their order.
    """
    if tokenizer.chat_template:
        return _by_template(messages, tokenizer, answering=answering)
    turns = [f"### {turn['role'].title()}:\n{turn['content']}\n\n" for turn in messages]
    return "".join(turns) + ("### Assistant:\n" if answering else "")


def _by_template(messages: Sequence[Mapping[str, str]], tokenizer: Any, *, answering: bool) -> str:
    from jinja2 import TemplateError

    try:
        text: str = tokenizer.apply_chat_template(list(messages), add_generation_prompt=answering, tokenize=False)
    except TemplateError as error:
        roles = ", ".join(turn["role"] for turn in messages)
        raise DataError(
            f"The chat template of {tokenizer.name_or_path} refuses a chat of the turns {roles}: {error}\n"
            "Remove or rename the turns that it does not know, or take a model whose template knows them."
        ) from error
    return text


def join(tokenizer: Any, prompt: str, completion: str, limit: int, *, special: bool = True) -> Encoded:
    """Returns prompt and completion as one sequence that ends in EOS, with labels on the completion alone.

    Over the limit the prompt loses its beginning; only a completion that is longer by itself loses its end.

    Args:
        tokenizer: the model's.
        prompt: what is given; may be empty.
        completion: what is to be learnt.
        limit: tokens in all.
        special: whether to begin with BOS where the tokenizer does so; a chat template writes it itself.
    """
    start = tokenizer("").input_ids[:1] if special and tokenizer.bos_token_id is not None else []
    start = start if start == [tokenizer.bos_token_id] else []
    given = tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids if prompt else []
    wanted = _closed(tokenizer(completion, add_special_tokens=False, verbose=False).input_ids, tokenizer.eos_token_id)
    truncated = len(start) + len(given) + len(wanted) > limit
    wanted = wanted[: limit - len(start)]
    room = limit - len(start) - len(wanted)
    given = given[len(given) - min(room, len(given)) :]
    tokens = [*start, *given, *wanted]
    encoded: Encoded = {
        "input_ids": tokens,
        "attention_mask": [1] * len(tokens),
        "labels": [IGNORED] * (len(tokens) - len(wanted)) + wanted,
    }
    return {**encoded, "truncated": True} if truncated else encoded


def _closed(tokens: list[int], end: int | None) -> list[int]:
    """Returns tokens that end in EOS once: what a template writes after it is cut off."""
    if end is None:
        return tokens
    if end in tokens:
        return tokens[: len(tokens) - tokens[::-1].index(end)]
    return [*tokens, end]


def counted_next(labels: Any) -> Any:
    """Returns which labels a decoder's loss counts: the first token of a row is not predicted."""
    return counted_labels(labels[:, 1:])


def completion_losses(model: Any, batch: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Returns each row's mean loss over its target tokens, in nats, and how many those are.

    Row by row and at target positions only: logits in float32 are the largest tensor of a language model.
    """
    import torch

    with torch.no_grad():
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    labels = batch["labels"]
    # A model with soft prompts in front may return logits for them too; the row's own are the last ones.
    logits = logits[:, -labels.shape[1] :][:, :-1]
    losses, weights = [], []
    for row, targets in zip(logits, labels[:, 1:], strict=True):
        counted = targets != IGNORED
        number = int(counted.sum())
        total = torch.nn.functional.cross_entropy(row[counted].float(), targets[counted], reduction="sum")
        losses.append(float(total) / max(number, 1))
        weights.append(float(number))
    return losses, weights


def predict_losses(model: Any, batch: Mapping[str, Any], tokenizer: Any, longest: int) -> Predictions:
    """Returns losses on target tokens with the expected texts; nothing is decoded, so the predictions are empty."""
    del longest
    losses, weights = completion_losses(model, batch)
    expected = target_texts(batch["labels"], tokenizer)
    return Predictions(predicted=[""] * len(expected), expected=expected, losses=losses, weights=weights)


def target_texts(labels: Any, tokenizer: Any) -> list[str]:
    """Returns the texts of the target tokens, special tokens left out; labels are [rows, tokens]."""
    rows = [row[row != IGNORED].tolist() for row in labels]
    return [tokenizer.decode(row, skip_special_tokens=True) for row in rows]


def continue_prompts(model: Any, batch: Mapping[str, Any], tokenizer: Any, longest: int) -> list[str]:
    """Returns what a decoder writes greedily after each row's prompt: what stands before the first target token.

    What a row gets does not depend on the rows beside it: it may be ``longest`` tokens long, and less only where its
    own prompt leaves the model no room for so many.
    """
    prompts = [
        ids[: int((row != IGNORED).int().argmax())]
        for ids, row in zip(batch["input_ids"], batch["labels"], strict=True)
    ]
    room = [_positions(model) - len(prompt) for prompt in prompts]
    found: dict[int, str] = {}
    for places in _together([left >= longest for left in room]):
        allowed = min(longest, *(room[place] for place in places))
        texts = _continued(model, [prompts[place] for place in places], tokenizer, allowed)
        found.update(zip(places, texts, strict=True))
    return [found[place] for place in range(len(prompts))]


def _together(fit: Sequence[bool]) -> list[list[int]]:
    """Returns the places that fit as one group, and each of the others as one of its own."""
    fitting = [place for place, fits in enumerate(fit) if fits]
    return [*([fitting] if fitting else []), *([place] for place, fits in enumerate(fit) if not fits)]


def _positions(model: Any) -> float:
    """Returns how many tokens a decoder has positions for, those of a prompt that it has learnt taken off."""
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is None:
        return math.inf
    learnt = getattr(getattr(model, "active_peft_config", None), "num_virtual_tokens", None)
    return float(limit - (learnt or 0))


def _continued(model: Any, prompts: Sequence[Any], tokenizer: Any, most: float) -> list[str]:
    """Returns what is written after prompts of one batch, padded on the left."""
    import torch

    width, device = max(1, max(len(prompt) for prompt in prompts)), prompts[0].device
    tokens = torch.full((len(prompts), width), tokenizer.pad_token_id, dtype=torch.long, device=device)
    mask = torch.zeros_like(tokens)
    for place, prompt in enumerate(prompts):
        tokens[place, width - len(prompt) :] = prompt
        mask[place, width - len(prompt) :] = 1
    written = _generate(model, tokenizer, most, input_ids=tokens, attention_mask=mask)
    return [tokenizer.decode(row[width:], skip_special_tokens=True) for row in written]


def _generate(model: Any, tokenizer: Any, most: float, **inputs: Any) -> Any:
    import torch

    with torch.no_grad():
        return model.generate(
            **inputs, max_new_tokens=max(int(most), 1), do_sample=False, num_beams=1,
            pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        )  # fmt: skip


def write_targets(model: Any, batch: Mapping[str, Any], tokenizer: Any, longest: int) -> list[str]:
    """Returns what an encoder-decoder writes greedily for each source."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    written = _generate(model, tokenizer, longest, **inputs)
    return list(tokenizer.batch_decode(written, skip_special_tokens=True))


def predict_with(
    decode: Callable[[Any, Mapping[str, Any], Any, int], list[str]],
    losses: Callable[[Any, Mapping[str, Any]], tuple[list[float], list[float]]],
    read: Callable[[str], str] = str.strip,
) -> Callable[[Any, Mapping[str, Any], Any, int], Predictions]:
    """Returns a `predict` that decodes texts and compares what `read` makes of them and of the targets."""

    def predict(model: Any, batch: Mapping[str, Any], tokenizer: Any, longest: int) -> Predictions:
        found, weights = losses(model, batch)
        return Predictions(
            predicted=[read(text) for text in decode(model, batch, tokenizer, longest)],
            expected=[read(text) for text in target_texts(batch["labels"], tokenizer)],
            losses=found,
            weights=weights,
        )

    return predict


def perplexity_decides(rarest_share: float) -> str:
    """Returns ``perplexity``, which needs no decoding."""
    del rarest_share
    return "perplexity"
