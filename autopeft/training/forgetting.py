"""Forgetting: what a model loses of general language while it learns a task, on held text before and after.

A language model is asked for its perplexity. A classifier has lost its language head, so the head is taken from the
checkpoint once more and put on the classifier's last hidden states: masked-LM loss for encoders, perplexity for
decoders. Where the checkpoint has no such head, as sentence encoders do, the hidden states themselves are compared.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopeft.data import EncodedDataset
from autopeft.errors import DataError, DivergedError
from autopeft.tasks import get_task
from autopeft.training.base import Base
from autopeft.training.devices import autocast
from autopeft.training.language_head import language_head
from autopeft.training.run import collate
from autopeft.training.scoring import held_out_loss
from autopeft.values.names import Dtype, ForgettingMeasure
from autopeft.values.outcomes import Forgetting
from autopeft.values.profiles import ModelProfile

ROWS_AT_ONCE = 8

LONGEST = 64
"""Tokens of a text that are read: soft prompts need room beside them in models with few positions."""

MASKED_SHARE = 0.15
"""Share of an encoder's tokens that are masked, as in its pretraining (Devlin et al., arXiv 1810.04805)."""

_IGNORED = -100
_LARGEST_EXPONENT = 700.0  # e to the power of more is beyond a float


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One base measured on general text, ready to measure what is attached to it.

    Attributes:
        read: a model → the measure on the probe's rows.
    """

    measure: ForgettingMeasure
    before: float
    rows: int
    tokens: int
    read: Callable[[Any], float]

    def after(self, model: Any) -> Forgetting:
        """Returns what the model with a method attached has forgotten; it is put into evaluation mode.

        Raises:
            DivergedError: the model no longer gives finite numbers on general text.
        """
        after = self.read(model)
        if not math.isfinite(after):
            raise DivergedError(f"The {self.measure} on general text became {after}; lower the learning rate.")
        return Forgetting(
            measure=self.measure,
            before=self.before,
            after=after,
            change=after - self.before,
            rows=self.rows,
            tokens=self.tokens,
        )


def general_texts(path: Path | None = None) -> tuple[str, ...]:
    """Returns the lines of a text file that are not empty; of the project's own sentences by default.

    Raises:
        DataError: the file cannot be read as UTF-8 text, or holds nothing.
    """
    source = path or Path(__file__).parent / "general_text.txt"
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The general text {source} cannot be read: {error}.\nGive a UTF-8 text file.") from error
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise DataError(f"The general text {source} is empty.\nGive a file with one text per line.")
    return found


def probe(base: Base, profile: ModelProfile, texts: Sequence[str], *, dtype: Dtype, device: str) -> Probe:
    """Returns a base measured on general text, while nothing is attached to it.

    Args:
        base: as the worker holds it; what is measured later is attached to this very model.
        profile: of the model, with the task that the base was loaded for.
        texts: from `general_texts`.
        dtype: of the computation.
        device: torch's name for it.
    """
    if not get_task(profile.task).fresh_head:
        return _language_probe(base, profile, texts, dtype, device)
    head = language_head(profile, dtype=dtype, device=device)
    if head is None or (profile.kind == "encoder" and base.tokenizer.mask_token_id is None):
        return _drift_probe(base, profile, texts, dtype, device)
    return _head_probe(base, profile, texts, head, dtype, device)


def _language_probe(base: Base, profile: ModelProfile, texts: Sequence[str], dtype: Dtype, device: str) -> Probe:
    """A decoder predicts every token of a text, an encoder-decoder its second half from its first."""
    task = get_task("seq2seq" if profile.kind == "seq2seq" else "generation")
    rows = [
        {"source": text[: len(text) // 2], "target": text[len(text) // 2 :]}
        if profile.kind == "seq2seq"
        else {"text": text}
        for text in texts
    ]
    encoded = [task.encode(row, base.tokenizer, (), LONGEST) for row in rows]
    for row in encoded:
        row.pop("truncated", None)
    dataset = _dataset(encoded, base.tokenizer)

    def read(model: Any) -> float:
        loss = held_out_loss(
            model, dataset, task, dtype=dtype, device=device, rows=len(dataset), batch_size=ROWS_AT_ONCE
        )
        return _perplexity(loss)

    return Probe(measure="perplexity", before=read(base.model), rows=len(dataset), tokens=_targets(encoded), read=read)


def _head_probe(
    base: Base,
    profile: ModelProfile,
    texts: Sequence[str],
    head: Callable[[Any], Any],
    dtype: Dtype,
    device: str,
) -> Probe:
    """The checkpoint's language head on the hidden states of a model that has another one."""
    import torch

    encoder = profile.kind == "encoder"
    encoded = [
        _masked(base, profile, text, index) if encoder else _shifted(base, profile, text)
        for index, text in enumerate(texts)
    ]
    dataset = _dataset([row for row in encoded if _targets([row])], base.tokenizer)
    tokens = _targets(dataset.rows)

    def read(model: Any) -> float:
        total = 0.0
        for hidden, targets in _hidden(model, base, profile, dataset, dtype, device):
            with torch.no_grad(), autocast(device, dtype):
                logits = head(hidden)
            total += float(torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum"))
        return total / tokens if encoder else _perplexity(total / tokens)

    measure: ForgettingMeasure = "masked_lm_loss" if encoder else "perplexity"
    return Probe(measure=measure, before=read(base.model), rows=len(dataset), tokens=tokens, read=read)


def _drift_probe(base: Base, profile: ModelProfile, texts: Sequence[str], dtype: Dtype, device: str) -> Probe:
    """How far the last hidden states turn away from the base's."""
    import torch

    encoded = [_whole(base, profile, text) for text in texts]
    dataset = _dataset(encoded, base.tokenizer)
    tokens = _targets(encoded)

    def states(model: Any) -> list[Any]:
        return [hidden.float().cpu() for hidden, _ in _hidden(model, base, profile, dataset, dtype, device)]

    reference = states(base.model)

    def read(model: Any) -> float:
        similar = [
            float(torch.nn.functional.cosine_similarity(first, second, dim=-1).double().sum())
            for first, second in zip(reference, states(model), strict=True)
        ]
        return 1.0 - sum(similar) / tokens

    return Probe(measure="representation_drift", before=0.0, rows=len(dataset), tokens=tokens, read=read)


def _hidden(
    model: Any, base: Base, profile: ModelProfile, dataset: EncodedDataset, dtype: Dtype, device: str
) -> Iterator[tuple[Any, Any]]:
    """Yields the last hidden states at positions with a target, [positions, hidden], and their targets, batch by batch.

    They are caught where the base's backbone returns them, so that whatever wraps it or lies in it has its effect.
    """
    import torch

    caught: list[Any] = []
    handle = base.model.base_model.register_forward_hook(lambda _module, _inputs, output: caught.append(output[0]))
    model.eval()
    try:
        for start in range(0, len(dataset), ROWS_AT_ONCE):
            batch = collate(dataset, range(start, min(start + ROWS_AT_ONCE, len(dataset))), device)
            targets = batch.pop("labels")
            if profile.task == "multiple-choice":
                batch = {key: value.unsqueeze(1) for key, value in batch.items()}
            with torch.no_grad(), autocast(device, dtype):
                model(**batch)
            counted = targets != _IGNORED
            # Soft prompts in front have states of their own; the row's are the last ones.
            yield caught.pop()[:, -targets.shape[1] :][counted], targets[counted]
    finally:
        handle.remove()


def _tokens(base: Base, profile: ModelProfile, text: str) -> dict[str, Any]:
    row = dict(base.tokenizer(text, truncation=True, max_length=LONGEST))
    end = base.tokenizer.eos_token_id
    # An encoder-decoder's classification head reads the state at EOS and fails on a row without one.
    if profile.kind == "seq2seq" and end is not None and row["input_ids"][-1:] != [end]:
        ids = [*row["input_ids"][: LONGEST - 1], end]
        row = {"input_ids": ids, "attention_mask": [1] * len(ids)}
    return row


def _masked(base: Base, profile: ModelProfile, text: str, seed: int) -> dict[str, Any]:
    """Returns a row with some of its words masked, the same ones every time, and what they were as labels."""
    row, special = _tokens(base, profile, text), set(base.tokenizer.all_special_ids)
    words = [place for place, token in enumerate(row["input_ids"]) if token not in special]
    chosen = random.Random(seed).sample(words, min(len(words), max(1, round(MASKED_SHARE * len(words)))))
    labels = [token if place in chosen else _IGNORED for place, token in enumerate(row["input_ids"])]
    masked = [base.tokenizer.mask_token_id if place in chosen else t for place, t in enumerate(row["input_ids"])]
    return {**row, "input_ids": masked, "labels": labels}


def _shifted(base: Base, profile: ModelProfile, text: str) -> dict[str, Any]:
    """Returns a row whose label at each position is the next token."""
    row = _tokens(base, profile, text)
    return {**row, "labels": [*row["input_ids"][1:], _IGNORED]}


def _whole(base: Base, profile: ModelProfile, text: str) -> dict[str, Any]:
    """Returns a row with every position counted."""
    row = _tokens(base, profile, text)
    return {**row, "labels": [0] * len(row["input_ids"])}


def _dataset(rows: Sequence[dict[str, Any]], tokenizer: Any) -> EncodedDataset:
    pads = {"input_ids": tokenizer.pad_token_id, "labels": _IGNORED}
    return EncodedDataset(rows=rows, lengths=[len(row["input_ids"]) for row in rows], truncated=0, pad_values=pads)


def _targets(rows: Sequence[dict[str, Any]]) -> int:
    return sum(label != _IGNORED for row in rows for label in row["labels"])


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, _LARGEST_EXPONENT)) if math.isfinite(loss) else loss
