"""What the data asks of the model, as a value: counted where there is data, described where there is none."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from autopeft.errors import invalid
from autopeft.tasks import get_task
from autopeft.values.names import Task
from autopeft.values.profiles import TaskProfile, TokenLengths

if TYPE_CHECKING:
    from autopeft.data import Data, EncodedData

DESCRIBED = "described"
"""Source of a profile made from a user's numbers instead of data."""


def describe_task(data: "Data", tokenizer: Any | None, encoded: "EncodedData | None" = None) -> TaskProfile:
    """Returns the profile of a data set as loaded, its splits included.

    Args:
        data: from `autopeft.data.load_data`.
        tokenizer: the model's, to count tokens with; None counts words and says so.
        encoded: the data as tokens, where it is there already.
    """
    from autopeft.data import label_counts, language_of, script_of

    rows = list(chain.from_iterable(data.rows.values()))
    counts = label_counts(rows, data.spec.task)
    texts = list(_texts(data))
    tokens, remarks = _lengths(data, tokenizer, encoded)
    return TaskProfile(
        task=data.spec.task, source=data.spec.source, rows={name: len(split) for name, split in data.rows.items()},
        tokens=tokens, columns=data.spec.columns, labels=data.spec.labels,
        label_counts={label: counts[label] for label in data.spec.labels},
        script=_known(script_of(texts)), language=_known(language_of(texts)), duplicates=data.counts.duplicates,
        leaked=data.counts.leaked, notes=(*data.notes, *_left_out(data), *remarks),
    )  # fmt: skip


def described_task(task: Task, rows: int, tokens_per_row: int) -> TaskProfile:
    """Returns the profile of data that a user describes: so many training rows of so many tokens each.

    Raises:
        InvalidValueError: there is no such task type, or a number is below 1.
    """
    get_task(task)
    for key, value in (("--rows", rows), ("--tokens-per-row", tokens_per_row)):
        if value < 1:
            raise invalid(key, "the described task", "at least 1", value)
    tokens = TokenLengths(p50=tokens_per_row, p95=tokens_per_row, longest=tokens_per_row, mean=float(tokens_per_row))
    return TaskProfile(task=task, source=DESCRIBED, rows={"train": rows}, tokens=tokens)


def _texts(data: "Data") -> Iterator[str]:
    from autopeft.data import text_of

    return (text_of(row) for row in data.rows["train"])


def _lengths(
    data: "Data", tokenizer: Any | None, encoded: "EncodedData | None"
) -> tuple[TokenLengths, tuple[str, ...]]:
    from autopeft.data import token_lengths, token_limit

    if tokenizer is None:
        return _words(list(_texts(data))), ("Lengths are counted in words; name a model to count its tokens.",)
    lengths, longest = token_lengths(data, tokenizer, encoded)
    limit = token_limit(data.spec, tokenizer)
    if longest <= limit:
        return lengths, ()
    return lengths, (f"The longest row has {longest} tokens; rows are cut at {limit}.",)


def _words(texts: Sequence[str]) -> TokenLengths:
    lengths = sorted(len(text.split()) for text in texts)
    last = len(lengths) - 1
    return TokenLengths(
        p50=lengths[round(last * 0.5)], p95=lengths[round(last * 0.95)], longest=lengths[-1],
        mean=sum(lengths) / len(lengths),
    )  # fmt: skip


def _left_out(data: "Data") -> tuple[str, ...]:
    return tuple(f"{count} rows are left out: {reason}." for reason, count in sorted(data.counts.dropped.items()))


def _known(name: str) -> str | None:
    return None if name == "unknown" else name
