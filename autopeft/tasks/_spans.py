"""Entity spans, read from one tag per word in any of the usual schemes."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

Span = tuple[str, int, int]
"""Type, first word, word after the last."""

_PREFIXES = frozenset("BIMLEUS")
_GOES_ON, _CLOSES, _OPENS, _WHOLE = frozenset("IMLE"), frozenset("LE"), frozenset("BUS"), frozenset("US")


def inside_begins(rows: Iterable[Sequence[str]]) -> bool:
    """Whether the truths of some rows are in IOB1, where an entity begins with ``I-``.

    There ``B-`` stands only between two neighbours of one type. A stray ``I-`` in tags whose entities otherwise begin
    with ``B-`` is a slip of whoever tagged them, and makes no scheme.
    """
    kinds = [_beginnings(tuple(row)) for row in rows]
    return any("I" in found for found in kinds) and all(found <= {"I"} for found in kinds)


@lru_cache(maxsize=65536)
def _beginnings(tags: Sequence[str]) -> frozenset[str]:
    """Returns the prefixes of tags that follow none of their type, and all that IOB1 has not."""
    pairs = [tag.partition("-")[::2] for tag in ("O", *tags)]
    return frozenset(
        prefix
        for (_, before), (prefix, name) in pairwise(pairs)
        if name and prefix in _PREFIXES and (name != before or prefix not in "BI")
    )


@lru_cache(maxsize=65536)
def entity_spans(tags: Sequence[str], *, inside: bool = False) -> frozenset[Span]:
    """Returns the spans of a row's tags.

    A span starts with ``B-`` and goes on with ``I-`` of its type; an ``I-`` with nothing to continue is no span. BILOU,
    IOBES and BMES are read as the same, ``M-`` as a continuation; their ``L-``, ``E-``, ``U-`` and ``S-`` end a span.
    Where no tag has such a prefix, a run of one tag is a span.

    Args:
        tags: of one row.
        inside: whether an ``I-`` with nothing to continue begins a span, as in IOB1.
    """
    if not any(tag[1:2] == "-" and tag[0] in _PREFIXES for tag in tags):
        tags = _prefixed(tags)
    spans: set[Span] = set()
    kind, start = "", 0
    for position, tag in enumerate((*tags, "O")):
        prefix, _, name = tag.partition("-")
        continued = bool(kind) and prefix in _GOES_ON and name == kind
        if kind and not continued:
            spans.add((kind, start, position))
        if not continued:
            opened = prefix in _OPENS or (inside and prefix == "I")
            kind, start = (name, position) if opened else ("", position)
        if kind and prefix in _CLOSES | _WHOLE:
            spans.add((kind, start, position + 1))
            kind = ""
    return frozenset(spans)


def _prefixed(tags: Sequence[str]) -> tuple[str, ...]:
    previous = ("O", *tags[:-1])
    return tuple(
        "O" if tag == "O" else f"{'I' if tag == before else 'B'}-{tag}"
        for tag, before in zip(tags, previous, strict=True)
    )
