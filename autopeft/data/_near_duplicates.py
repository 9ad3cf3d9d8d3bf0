"""Groups rows whose texts are nearly the same, so that a group can stay on one side of a split.

Texts are compared by the Jaccard similarity of their words and word pairs. Candidates come from MinHash in
bands (Broder 1997; Leskovec et al., *Mining of Massive Datasets*, ch. 3) and are then compared exactly.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

SIMILAR = 0.8
_BANDS, _ROWS = 12, 4  # finds a pair at similarity 0.8 with probability 0.998
_MOST_LEADERS = 20
# Scripts written without spaces are compared by character.
_WORD = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]|[^\W\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]+")


def normalise(text: str) -> str:
    """Returns a text's words in lower case with single spaces; punctuation is left out."""
    return " ".join(_WORD.findall(text.casefold()))


def near_duplicate_groups(texts: Sequence[str]) -> list[int]:
    """Returns a group number per text: the position of the group's first text.

    Texts are in one group when they are the same after `normalise`, or chained by similarity of at least
    `SIMILAR`.
    """
    normal = [normalise(text) or text for text in texts]
    first = {text: index for index, text in reversed(list(enumerate(normal)))}
    distinct = sorted(first.values())
    shingles = _shingles([normal[index] for index in distinct])
    parents = list(range(len(distinct)))
    for left, right in _similar_pairs(shingles):
        a, b = _root(parents, left), _root(parents, right)
        parents[max(a, b)] = min(a, b)
    group = {normal[index]: distinct[_root(parents, position)] for position, index in enumerate(distinct)}
    return [group[text] for text in normal]


def _root(parents: list[int], node: int) -> int:
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


def _shingles(texts: Sequence[str]) -> list[frozenset[int]]:
    """Returns each text's words and word pairs as numbers that are the same in every run."""
    vocabulary: dict[str, int] = {}
    found = []
    for text in texts:
        words = [vocabulary.setdefault(word, len(vocabulary) + 1) for word in text.split(" ")]
        pairs = [(left << 32) + right for left, right in itertools.pairwise(words)]
        found.append(frozenset((*words, *pairs)))
    return found


def _similar_pairs(shingles: Sequence[frozenset[int]]) -> Iterator[tuple[int, int]]:
    import numpy as np

    if not shingles:
        return
    signatures = _signatures(shingles)
    for band in range(_BANDS):
        keys = np.ascontiguousarray(signatures[:, band * _ROWS : (band + 1) * _ROWS]).view("V32").ravel()
        buckets: dict[bytes, list[int]] = {}
        for index, key in enumerate(keys.tolist()):
            buckets.setdefault(key, []).append(index)
        for members in buckets.values():
            if len(members) > 1:
                yield from _within(members, shingles)


def _within(members: Sequence[int], shingles: Sequence[frozenset[int]]) -> Iterator[tuple[int, int]]:
    """Yields similar pairs of a bucket, each member against the bucket's leaders: linear in the bucket's size."""
    leaders: list[int] = []
    for member in members:
        match = next((leader for leader in leaders if _jaccard(shingles[leader], shingles[member]) >= SIMILAR), None)
        if match is not None:
            yield match, member
        elif len(leaders) < _MOST_LEADERS:
            leaders.append(member)


def _jaccard(left: frozenset[int], right: frozenset[int]) -> float:
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)


def _signatures(shingles: Sequence[frozenset[int]]) -> Any:
    """Returns MinHash signatures, [texts, bands × rows], from multiply-shift hashes with fixed multipliers."""
    import numpy as np

    sizes = np.fromiter(map(len, shingles), np.int64, len(shingles))
    flat = np.fromiter((item for items in shingles for item in items), np.uint64, int(sizes.sum()))
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    multipliers = np.random.default_rng(0).integers(1, 2**63, (_BANDS * _ROWS, 2), dtype=np.uint64) | np.uint64(1)
    signatures = np.empty((len(shingles), _BANDS * _ROWS), np.uint64)
    for column, (first, second) in enumerate(multipliers):
        hashed = flat * first
        hashed = (hashed ^ (hashed >> np.uint64(29))) * second
        signatures[:, column] = np.minimum.reduceat(hashed ^ (hashed >> np.uint64(32)), starts)
    return signatures
