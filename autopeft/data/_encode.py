"""Turns a data set into tokens, and rows of tokens into padded tensors."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from autopeft.data._load import Data
from autopeft.data._row_cache import Cut, RowCache
from autopeft.tasks import Encoded, Row, TaskType, get_task
from autopeft.values.data import DataSpec
from autopeft.values.names import ModelKind
from autopeft.values.profiles import TokenLengths

NO_LIMIT = 512
"""Token limit where neither the user nor the tokenizer gives one."""

IGNORED = -100
"""Label of a position that the loss leaves out, as transformers' models have it."""

_UNBOUNDED = 1_000_000  # tokenizers without a limit state a far larger number
_POOL = 50  # batches that are sorted by length together
_SAMPLE = 20_000


@dataclass(frozen=True, kw_only=True)
class EncodedDataset:
    """One split as tokens; a map-style data set for torch's DataLoader and transformers' Trainer.

    Attributes:
        rows: lists of token ids by model argument, not padded.
        lengths: tokens per row, the longest of its sequences, for bucketing by length.
        truncated: rows that were cut at the token limit.
        pad_values: what each model argument is padded with.
    """

    rows: Sequence[Encoded]
    lengths: Sequence[int]
    truncated: int
    pad_values: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def longest_target(self) -> int:
        """The most tokens that any row is to be answered with, its end included; 0 where labels are no sequences."""
        targets = (row.get("labels") for row in self.rows)
        return max((len(each) - each.count(IGNORED) for each in targets if isinstance(each, list)), default=0)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Returns rows as tensors padded on the right to the longest among them, ready to be stacked as they are."""
        rows = [self.rows[index] for index in indices]
        widths = {key: max(_width(row[key]) for row in rows) for key in rows[0]}
        return [{key: self._padded(key, value, widths[key]) for key, value in row.items()} for row in rows]

    def _padded(self, key: str, value: Any, width: int) -> Any:
        import torch

        pad = self.pad_values.get(key, 0)
        if not isinstance(value, list):
            return torch.tensor(value)
        if value and isinstance(value[0], list):
            return torch.tensor([[*part, *[pad] * (width - len(part))] for part in value])
        return torch.tensor([*value, *[pad] * (width - len(value))])


def _width(value: Any) -> int:
    if not isinstance(value, list):
        return 0
    return max(len(part) for part in value) if value and isinstance(value[0], list) else len(value)


@dataclass(frozen=True, kw_only=True)
class EncodedData:
    """The splits of a data set as tokens: ``encoded["train"]``, ``["validation"]``, ``["test"]``."""

    spec: DataSpec
    splits: Mapping[str, EncodedDataset]

    def __getitem__(self, split: str) -> EncodedDataset:
        return self.splits[split]

    @property
    def truncated(self) -> int:
        """Rows cut at the token limit, over all splits."""
        return sum(split.truncated for split in self.splits.values())


def encode(data: Data, tokenizer: Any, kind: ModelKind, cache: RowCache | None = None) -> EncodedData:
    """Returns the splits as tokens.

    Args:
        data: the data set; its spec's ``token_limit`` cuts longer rows.
        tokenizer: one with a pad token: see `autopeft.tasks.ready_tokenizer`.
        kind: what the tokens are for. Only encoders get segment ids; encoder-decoders need a text to end in EOS.
        cache: of rows that were encoded the same way, such as those of another fold.
    """
    limit = token_limit(data.spec, tokenizer)
    spec = replace(data.spec, token_limit=limit)
    return EncodedData(
        spec=spec,
        splits={name: encode_rows(rows, spec, tokenizer, kind, cache) for name, rows in data.rows.items()},
    )


def token_limit(spec: DataSpec, tokenizer: Any) -> int:
    """Returns the tokens a row may have: the spec's limit, at most the tokenizer's own."""
    own = int(tokenizer.model_max_length)
    if own > _UNBOUNDED:
        return spec.token_limit or NO_LIMIT
    return min(spec.token_limit or own, own)


def encode_rows(
    rows: Sequence[Row], spec: DataSpec, tokenizer: Any, kind: ModelKind, cache: RowCache | None = None
) -> EncodedDataset:
    """Returns rows as one encoded split; the rows of a cache are shared with it."""
    task = get_task(spec.task)
    limit = token_limit(spec, tokenizer)

    def tokens(row: Row) -> Cut:
        made = _for_kind(task.encode(row, tokenizer, spec.labels, limit), tokenizer, kind, limit)
        return made, bool(made.pop("truncated", False))

    pairs = [tokens(row) if cache is None else cache.of(row, tokens) for row in rows]
    encoded = [row for row, _ in pairs]
    pads = {"input_ids": tokenizer.pad_token_id, "labels": IGNORED}
    lengths = [row_length(row) for row in encoded]
    return EncodedDataset(rows=encoded, lengths=lengths, truncated=sum(cut for _, cut in pairs), pad_values=pads)


def _for_kind(row: Encoded, tokenizer: Any, kind: ModelKind, limit: int) -> Encoded:
    if kind != "encoder":
        row.pop("token_type_ids", None)
    # An encoder-decoder's classification head reads the state at EOS and fails on a row without one.
    end = tokenizer.eos_token_id
    if kind == "seq2seq" and end is not None and row["input_ids"][-1:] != [end]:
        row["input_ids"] = [*row["input_ids"][: limit - 1], end]
        row["attention_mask"] = [1] * len(row["input_ids"])
    return row


def row_length(row: Encoded) -> int:
    """Returns the tokens of the longest sequence in an encoded row."""
    return max(_width(value) for value in row.values())


def batches(dataset: EncodedDataset, batch_size: int, seed: int, *, bucket: bool = True) -> Iterator[list[int]]:
    """Yields one epoch of shuffled batches of row positions, every row once; the last ones may be smaller.

    Args:
        dataset: what to draw from.
        batch_size: rows per batch.
        seed: of the shuffle; give each epoch another one.
        bucket: put rows of similar length together, which saves padding.
    """
    generator = random.Random(seed)
    order = list(range(len(dataset)))
    generator.shuffle(order)
    pool = batch_size * _POOL if bucket else batch_size
    cut: list[list[int]] = []
    for start in range(0, len(order), pool):
        near = order[start : start + pool]
        if bucket:
            near.sort(key=lambda index: dataset.lengths[index])
        cut.extend(near[place : place + batch_size] for place in range(0, len(near), batch_size))
    generator.shuffle(cut)
    yield from cut


def token_lengths(data: Data, tokenizer: Any, encoded: EncodedData | None = None) -> tuple[TokenLengths, int]:
    """Returns the tokens per row over all splits, each cut where training cuts it, and those of the longest uncut.

    Above 20,000 rows that are not encoded the distribution is that of an even sample; the longest is looked for among
    the rows of most characters too.

    Args:
        data: the data set.
        tokenizer: to count with.
        encoded: the same data as tokens, where it is there already: nothing is counted twice unless rows were cut.
    """
    if encoded is not None and not encoded.truncated:
        uncut = [length for split in encoded.splits.values() for length in split.lengths]
        longest = max(uncut)
    else:
        uncut, longest = _uncut(data, tokenizer)
    limit = token_limit(data.spec, tokenizer)
    lengths, last = sorted(min(length, limit) for length in uncut), len(uncut) - 1
    found = TokenLengths(
        p50=lengths[round(last * 0.5)],
        p95=lengths[round(last * 0.95)],
        longest=min(longest, limit),
        mean=sum(lengths) / len(lengths),
    )
    return found, longest


def _uncut(data: Data, tokenizer: Any) -> tuple[list[int], int]:
    """Returns the tokens of an even sample of rows, none of them cut, and those of the longest row."""
    rows = [row for split in data.rows.values() for row in split]
    sample = rows[:: len(rows) // _SAMPLE + 1]
    task = get_task(data.spec.task)
    lengths = [_length(row, task, tokenizer, data.spec) for row in sample]
    longest = max(lengths)
    if len(sample) < len(rows):
        wide = sorted(rows, key=lambda row: -sum(len(str(cell)) for cell in row.values()))[:100]
        longest = max(longest, *(_length(row, task, tokenizer, data.spec) for row in wide))
    return lengths, longest


def _length(row: Row, task: TaskType, tokenizer: Any, spec: DataSpec) -> int:
    return row_length(task.encode(row, tokenizer, spec.labels, _UNBOUNDED))
