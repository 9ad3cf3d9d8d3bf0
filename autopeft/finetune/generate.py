"""What a language model writes after each row's prompt."""

from collections.abc import Sequence
from typing import Any

from autopeft.data import EncodedDataset
from autopeft.finetune.logits import IGNORED
from autopeft.training.devices import autocast
from autopeft.values.names import Dtype


def continuations(
    model: Any,
    tokenizer: Any,
    dataset: EncodedDataset,
    *,
    whole: bool,
    seq2seq: bool,
    batch_size: int,
    longest: int,
    dtype: Dtype,
    device: str,
) -> list[str]:
    """Returns one greedily written text per row, without special tokens.

    Args:
        model: with the method attached.
        tokenizer: the model's.
        dataset: rows whose answer is empty.
        whole: whether the row as a whole is the prompt, as for plain text.
        seq2seq: whether the model reads the prompt in an encoder.
        batch_size: rows at once.
        longest: most tokens written.
        dtype: of the computation.
        device: torch's name for it.
    """
    import torch

    prompts = [_prompt(row, tokenizer.eos_token_id, whole=whole, seq2seq=seq2seq) for row in dataset.rows]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    found: dict[int, str] = {}
    model.eval()
    with torch.no_grad(), autocast(device, dtype):
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            tokens, mask = _batch([prompts[i] for i in places], tokenizer.pad_token_id, device, left=not seq2seq)
            written = model.generate(
                input_ids=tokens, attention_mask=mask, max_new_tokens=longest, do_sample=False, num_beams=1,
                pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
            )  # fmt: skip
            new = written if seq2seq else written[:, tokens.shape[1] :]
            found.update(zip(places, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True))
    return [found[index] for index in range(len(prompts))]


def _prompt(row: Any, end: int | None, *, whole: bool, seq2seq: bool) -> list[int]:
    tokens: list[int] = row["input_ids"]
    if seq2seq:
        return tokens
    if whole:
        return tokens[:-1] if tokens[-1:] == [end] else tokens
    return [token for token, label in zip(tokens, row["labels"], strict=True) if label == IGNORED]


def _batch(prompts: Sequence[list[int]], pad: int, device: str, *, left: bool) -> tuple[Any, Any]:
    """Returns token ids and their mask, padded on the side that the model does not go on from."""
    import torch

    width = max(1, max(len(prompt) for prompt in prompts))
    rows, masks = [], []
    for prompt in prompts:
        gap = width - len(prompt)
        padding, hidden = [pad] * gap, [0] * gap
        rows.append([*padding, *prompt] if left else [*prompt, *padding])
        masks.append([*hidden, *[1] * len(prompt)] if left else [*[1] * len(prompt), *hidden])
    return torch.tensor(rows, device=device), torch.tensor(masks, device=device)
